//! NATs as routers of their own, by the same rules as a host's NAT box.

use std::net::Ipv4Addr;
use std::process::Command;

use model::nat::rules::Place;
use model::nat::{Behaviour, NatSpec};
use model::protocol::PortRange;

use crate::net::run;

/// The four classic ones, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    FullCone,
    AddressRestricted,
    PortRestricted,
    Symmetric,
}

impl Nat {
    pub const ALL: [Self; 4] = [
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
    ];
}

impl From<Nat> for NatSpec {
    fn from(nat: Nat) -> Self {
        Self::from(match nat {
            Nat::FullCone => Behaviour::FULL_CONE,
            Nat::AddressRestricted => Behaviour::ADDRESS_RESTRICTED,
            Nat::PortRestricted => Behaviour::PORT_RESTRICTED,
            Nat::Symmetric => Behaviour::SYMMETRIC,
        })
    }
}

/// Where tests' services have their ports.
pub const PORTS: PortRange = PortRange {
    first: 12000,
    last: 31999,
};

/// Turns a namespace with `wan0` and `lan0` into such a router.
pub(crate) fn set(spec: NatSpec, namespace: &str, outer: Ipv4Addr) {
    assert!(spec.cgnat.is_none(), "one router is one NAT");
    let router = spec.router();
    let place = Place {
        inside: "lan0",
        inner: Ipv4Addr::new(10, 9, 0, 0),
        ports: PORTS,
    };
    let timeout = router.udp_timeout.map_or(String::new(), |seconds| {
        format!("for of in /proc/sys/net/netfilter/nf_conntrack_udp_timeout*; do echo {seconds} > $of; done\n")
    });
    let script = format!(
        "set -eu
sysctl -qw net.ipv4.ip_forward=1
# Where Docker is, bridges would filter what they carry.
bridged=/proc/sys/net/bridge/bridge-nf-call-iptables
[ ! -e $bridged ] || echo 0 > $bridged
WAN=wan0 OUTER={outer}
{ports}nft -f - <<RULES
{rules}RULES
{timeout}",
        ports = router.ports(PORTS),
        rules = router.ruleset("box", place),
    );
    run(Command::new("ip").args(["netns", "exec", namespace, "sh", "-c", &script]));
}
