//! The four classic NATs as nftables rules.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::net::run;

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

    /// Turns a namespace with `wan0` and `lan0` into such a router.
    pub(crate) fn set(self, router: &str, outer: Ipv4Addr) {
        let forward = "net.ipv4.ip_forward=1";
        run(Command::new("ip").args(["netns", "exec", router, "sysctl", "-qw", forward]));
        run(Command::new("ip").args(["netns", "exec", router, "nft", &self.rules(outer)]));
    }

    fn rules(self, outer: Ipv4Addr) -> String {
        let (records, source, inbound) = match self {
            Self::FullCone => (
                OPEN,
                format!("snat ip to {outer}"),
                "dnat ip to udp dport map @open",
            ),
            Self::AddressRestricted => (
                OPEN_TO,
                format!("snat ip to {outer}"),
                "ip saddr . udp dport @contacted dnat ip to udp dport map @open",
            ),
            Self::PortRestricted => ("", format!("snat ip to {outer}"), ""),
            Self::Symmetric => ("", "masquerade fully-random".to_owned(), ""),
        };
        let inbound = match inbound {
            "" => String::new(),
            rule => format!("iifname wan0 meta l4proto udp {rule};"),
        };
        // `input` refuses what no mapping exists for: otherwise a stranger's
        // probe makes an entry on the router itself, and a peer's mapping moves.
        format!(
            "table ip box {{
                map open {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }}
                set contacted {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }}
                chain record {{ type filter hook postrouting priority srcnat - 10; {records} }}
                chain out {{ type nat hook postrouting priority srcnat; oifname wan0 {source}; }}
                chain back {{ type nat hook prerouting priority dstnat; {inbound} }}
                chain input {{ type filter hook input priority filter; iifname wan0 ct state new drop; }}
            }}"
        )
    }
}

const OPEN: &str =
    "oifname wan0 meta l4proto udp update @open { udp sport : ip saddr . udp sport };";
const OPEN_TO: &str = "oifname wan0 meta l4proto udp update @open { udp sport : ip saddr . udp sport }; \
     oifname wan0 meta l4proto udp update @contacted { ip daddr . udp sport };";
