//! A NAT on a host: a network namespace `natbox` behind nftables rules, as a
//! systemd unit that survives a reboot. `docs/nat-boxes.md` explains each line.

use std::net::Ipv4Addr;
use std::time::Duration;

use model::nat::{Filtering, Mapping, NatSpec};
use model::protocol::PortRange;

use crate::error::FleetError;
use crate::host::Host;
use crate::quote::quote;

/// Where services behind the box live.
pub const INNER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 2);

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 1);
const DIRECTORY: &str = "/var/lib/vps-test/natbox";

/// What a host's NAT is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatBox {
    pub spec: NatSpec,
    /// Source ports that services behind it use: what strangers send there must
    /// not make conntrack entries of its own.
    pub ports: PortRange,
}

/// A behaviour that this kernel's rules cannot make yet.
#[derive(Debug, thiserror::Error)]
#[error(
    "no NAT box makes {0} yet; full-cone, address-restricted, port-restricted and symmetric are there"
)]
pub struct Unsupported(model::nat::Behaviour);

impl NatBox {
    pub const UNIT: &str = "vps-test-natbox.service";
    pub const NETNS: &str = "/run/netns/natbox";

    /// The nftables ruleset; `$WAN` and `$OUTER` are filled in on the host.
    ///
    /// # Errors
    /// Not one of the four classic types.
    pub fn ruleset(&self) -> Result<String, Unsupported> {
        let behaviour = self.spec.behaviour;
        let (record, out, back) = match (behaviour.mapping, behaviour.filtering) {
            (Mapping::Eim, Filtering::Eif) => {
                (OPEN, "snat ip to $OUTER", "dnat ip to udp dport map @open")
            }
            (Mapping::Eim, Filtering::Adf) => (
                OPEN_TO,
                "snat ip to $OUTER",
                "ip saddr . udp dport @contacted dnat ip to udp dport map @open",
            ),
            (Mapping::Eim, Filtering::Apdf) => ("", "snat ip to $OUTER", ""),
            (Mapping::Apdm, Filtering::Apdf) => ("", "masquerade fully-random", ""),
            _ => return Err(Unsupported(behaviour)),
        };
        let back = if back.is_empty() {
            String::new()
        } else {
            format!("iifname $WAN meta l4proto udp {back}")
        };
        let (first, last) = (self.ports.first, self.ports.last);
        Ok(format!(
            "table ip vps_test_natbox {{
  map open {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }}
  set contacted {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }}
  chain record {{ type filter hook postrouting priority srcnat - 10; {record} }}
  chain out {{ type nat hook postrouting priority srcnat; ip saddr {INNER_ADDRESS} oifname $WAN {out}; }}
  chain back {{ type nat hook prerouting priority dstnat; {back}; }}
  chain input {{ type filter hook input priority filter; iifname $WAN udp dport {first}-{last} ct state new drop; }}
}}
"
        )
        .replace("; ; }", " }")
        .replace("{ type nat hook prerouting priority dstnat;  }", "{ type nat hook prerouting priority dstnat; }"))
    }

    fn up_script(&self) -> Result<String, Unsupported> {
        let rules = self.ruleset()?;
        Ok(format!(
            "#!/bin/sh
# A NAT for the services in the namespace natbox: {behaviour}.
set -eu
sh {DIRECTORY}/down
WAN=$(ip -4 route show default | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | head -n 1)
OUTER=$(ip -4 route get 192.0.2.1 | sed -n 's/.* src \\([^ ]*\\).*/\\1/p')
ip netns add natbox
ip link add natbox0 type veth peer name eth0 netns natbox
ip addr add {GATEWAY}/24 dev natbox0
ip link set natbox0 up
ip -n natbox addr add {INNER_ADDRESS}/24 dev eth0
ip -n natbox link set lo up
ip -n natbox link set eth0 up
ip -n natbox route add default via {GATEWAY}
sysctl -qw net.ipv4.ip_forward=1
nft -f - <<RULES
{rules}RULES
# A host that forwards nothing by default (Docker does that) needs one rule of ours.
for chain in DOCKER-USER FORWARD; do
  if nft list chain ip filter $chain >/dev/null 2>&1; then
    nft insert rule ip filter $chain iifname natbox0 accept comment '\"vps-test natbox\"'
    nft insert rule ip filter $chain oifname natbox0 accept comment '\"vps-test natbox\"'
    break
  fi
done
",
            behaviour = self.spec.behaviour
        ))
    }
}

const OPEN: &str =
    "oifname $WAN meta l4proto udp update @open { udp sport : ip saddr . udp sport };";
const OPEN_TO: &str = "oifname $WAN meta l4proto udp update @open { udp sport : ip saddr . udp sport }; \
     oifname $WAN meta l4proto udp update @contacted { ip daddr . udp sport };";

const DOWN: &str = "#!/bin/sh
# Removes the NAT and nothing else.
for chain in DOCKER-USER FORWARD; do
  nft -a list chain ip filter $chain 2>/dev/null | sed -n 's/.*vps-test natbox.*handle \\([0-9]*\\)$/\\1/p' |
    while read -r handle; do nft delete rule ip filter $chain handle \"$handle\"; done
done
nft delete table ip vps_test_natbox 2>/dev/null || true
ip link delete natbox0 2>/dev/null || true
ip netns delete natbox 2>/dev/null || true
";

const SERVICE: &str = "# Installed by vps-test
[Unit]
Description=NAT box of vps-test
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /var/lib/vps-test/natbox/up
ExecStop=/bin/sh /var/lib/vps-test/natbox/down

[Install]
WantedBy=multi-user.target
";

impl Host {
    /// Makes the host's NAT box what it is asked to be; does nothing where it is.
    ///
    /// # Errors
    /// No rules for this behaviour; or the host refuses.
    pub async fn apply_nat(&self, nat_box: &NatBox) -> Result<(), FleetError> {
        let up = nat_box.up_script().map_err(|error| FleetError::Failed {
            node: self.name().clone(),
            command: "nat apply".into(),
            status: 1,
            stderr: error.to_string(),
        })?;
        let script = format!(
            "set -eu
mkdir -p {DIRECTORY}
printf %s {up} > {DIRECTORY}/up.new
printf %s {down} > {DIRECTORY}/down
printf %s {service} > /etc/systemd/system/{unit}
if cmp -s {DIRECTORY}/up.new {DIRECTORY}/up && systemctl is-active -q {unit}; then rm {DIRECTORY}/up.new; exit 0; fi
mv {DIRECTORY}/up.new {DIRECTORY}/up
systemctl daemon-reload
systemctl enable -q {unit} 2>/dev/null
systemctl restart {unit} || {{ journalctl -u {unit} -n 20 --no-pager -o cat >&2; exit 1; }}",
            up = quote(&up),
            down = quote(DOWN),
            service = quote(SERVICE),
            unit = NatBox::UNIT,
        );
        self.script_ok(&script, None, Duration::from_secs(30))
            .await
            .map(drop)
    }

    /// Removes the host's NAT box, if there is one.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn remove_nat(&self) -> Result<(), FleetError> {
        let unit = NatBox::UNIT;
        let script = format!(
            "[ -e /etc/systemd/system/{unit} ] || exit 0
systemctl disable -q --now {unit} 2>/dev/null
[ -e {DIRECTORY}/down ] && sh {DIRECTORY}/down
rm -rf /etc/systemd/system/{unit} {DIRECTORY}
systemctl daemon-reload"
        );
        self.script_ok(&script, None, Duration::from_secs(30))
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use model::nat::Behaviour;

    use super::*;

    #[test]
    fn the_four_classic_rulesets() {
        let classic = [
            Behaviour::FULL_CONE,
            Behaviour::ADDRESS_RESTRICTED,
            Behaviour::PORT_RESTRICTED,
            Behaviour::SYMMETRIC,
        ];
        let all: Vec<String> = classic
            .iter()
            .map(|behaviour| {
                let nat_box = NatBox {
                    spec: NatSpec {
                        behaviour: *behaviour,
                    },
                    ports: PortRange {
                        first: 12000,
                        last: 31999,
                    },
                };
                format!("# {behaviour}\n{}", nat_box.ruleset().unwrap())
            })
            .collect();
        insta::assert_snapshot!(all.join("\n"));
    }
}
