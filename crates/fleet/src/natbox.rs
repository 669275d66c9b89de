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
        let (keep, source, back) = match (behaviour.mapping, behaviour.filtering) {
            (Mapping::Eim, Filtering::Eif) => (OPEN.to_owned(), TO_OUTER, ANYBODY),
            (Mapping::Eim, Filtering::Adf) => (format!("{OPEN}{CONTACTED}"), TO_OUTER, KNOWN),
            (Mapping::Eim, Filtering::Apdf) => (String::new(), TO_OUTER, ""),
            (Mapping::Apdm, Filtering::Apdf) => (String::new(), "masquerade fully-random", ""),
            _ => return Err(Unsupported(behaviour)),
        };
        let (first, last) = (self.ports.first, self.ports.last);
        let body = format!(
            "{keep}{back}  chain out {{
    type nat hook postrouting priority srcnat;
    ip saddr {INNER_ADDRESS} oifname $WAN {source};
  }}
  # What strangers send must not make conntrack entries that take a port away.
  chain input {{
    type filter hook input priority filter;
    iifname $WAN udp dport {first}-{last} ct state new drop;
  }}
"
        );
        Ok(format!("table ip vps_test_natbox {{\n{body}}}\n"))
    }

    fn up_script(&self) -> Result<String, Unsupported> {
        let rules = self.ruleset()?;
        Ok(format!(
            "#!/bin/sh
# A NAT for the services in the namespace natbox: {behaviour}.
set -eu
sh {DIRECTORY}/down
trap '[ $? = 0 ] || sh {DIRECTORY}/down' EXIT
# While a host boots it may have no way out yet. Nothing is sent to this address.
way_out() {{ ip -4 route get 192.0.2.1 2>/dev/null | sed -n \"s/.* $1 \\([^ ]*\\).*/\\1/p\"; }}
tries=0
until WAN=$(way_out dev) OUTER=$(way_out src) && [ -n \"$OUTER\" ]; do
  tries=$((tries + 1))
  [ $tries -lt 60 ] || {{ echo 'no route to the internet' >&2; exit 1; }}
  sleep 1
done
ip netns add natbox
ip link add natbox0 type veth peer name eth0 netns natbox
ip addr add {GATEWAY}/24 dev natbox0
ip link set natbox0 up
ip -n natbox addr add {INNER_ADDRESS}/24 dev eth0
ip -n natbox link set lo up
ip -n natbox link set eth0 up
ip -n natbox route add default via {GATEWAY}
# These two devices forward; whether the others do is not for us to say.
echo 1 > /proc/sys/net/ipv4/conf/natbox0/forwarding
if [ \"$(cat /proc/sys/net/ipv4/conf/$WAN/forwarding)\" = 0 ]; then
  echo $WAN > {DIRECTORY}/forwarding
  echo 1 > /proc/sys/net/ipv4/conf/$WAN/forwarding
fi
nft -f - <<RULES
{rules}RULES
# Whoever filters what is forwarded, and Docker drops all it does not know, gets
# a rule of ours. Docker leaves DOCKER-USER to others.
nft list chains | awk '$1 == \"table\" {{ table = $2 \" \" $3 }} $1 == \"chain\" {{ chain = $2 }}
  /type filter hook forward/ && table ~ /^(ip|inet) / {{ print table, chain }}' |
while read -r family table chain; do
  if [ \"$family $table $chain\" = 'ip filter FORWARD' ] && nft list chain ip filter DOCKER-USER >/dev/null 2>&1
  then chain=DOCKER-USER; fi
  nft insert rule $family $table $chain iifname natbox0 accept comment '\"vps-test natbox\"'
  nft insert rule $family $table $chain oifname natbox0 accept comment '\"vps-test natbox\"'
done
",
            behaviour = self.spec.behaviour
        ))
    }
}

const TO_OUTER: &str = "snat ip to $OUTER";

/// Which inner socket has an outer port, for as long as it sends.
const OPEN: &str = "  map open { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }
  chain record {
    type filter hook postrouting priority srcnat - 10;
    ip saddr 10.213.77.2 oifname $WAN meta l4proto udp update @open { udp sport : ip saddr . udp sport };
  }
";

/// Which hosts an outer port has sent to.
const CONTACTED: &str =
    "  set contacted { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }
  chain record_contacts {
    type filter hook postrouting priority srcnat - 10;
    ip saddr 10.213.77.2 oifname $WAN meta l4proto udp update @contacted { ip daddr . udp sport };
  }
";

const ANYBODY: &str = "  chain back {
    type nat hook prerouting priority dstnat;
    iifname $WAN meta l4proto udp dnat ip to udp dport map @open;
  }
";

const KNOWN: &str = "  chain back {
    type nat hook prerouting priority dstnat;
    iifname $WAN meta l4proto udp ip saddr . udp dport @contacted dnat ip to udp dport map @open;
  }
";

const DOWN: &str = r#"#!/bin/sh
# Removes the NAT and nothing else.
nft -a list ruleset 2>/dev/null |
awk '$1 == "table" { table = $2 " " $3 } $1 == "chain" { chain = $2 }
  /comment "vps-test natbox" # handle/ { print table, chain, $NF }' |
while read -r family table chain handle; do nft delete rule $family $table $chain handle $handle; done
nft delete table ip vps_test_natbox 2>/dev/null || true
ip link delete natbox0 2>/dev/null || true
ip netns delete natbox 2>/dev/null || true
# Forwarding goes back to what it was, unless the whole host forwards by now.
turned_on=/var/lib/vps-test/natbox/forwarding
if [ -e $turned_on ]; then
  [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || echo 0 > /proc/sys/net/ipv4/conf/$(cat $turned_on)/forwarding
  rm -f $turned_on
fi
"#;

/// Firewalls and Docker write their rules first: they would remove ours or drop
/// what ours let pass.
const SERVICE: &str = "# Installed by vps-test
[Unit]
Description=NAT box of vps-test
Wants=network-online.target
After=network-online.target nftables.service ufw.service firewalld.service docker.service

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
put() {{
  printf %s \"$2\" | cat > \"$1.new\"
  if cmp -s \"$1.new\" \"$1\"; then rm \"$1.new\"; else rm -f {DIRECTORY}/applied; mv \"$1.new\" \"$1\"; fi
}}
mkdir -p {DIRECTORY}
put {DIRECTORY}/up {up}
put {DIRECTORY}/down {down}
put /etc/systemd/system/{unit} {service}
if [ -e {DIRECTORY}/applied ] && systemctl is-active -q {unit} && [ -e {netns} ] &&
  nft list table ip vps_test_natbox >/dev/null 2>&1; then exit 0; fi
systemctl daemon-reload
systemctl enable -q {unit} 2>/dev/null
systemctl restart {unit} || {{ journalctl -u {unit} -n 20 --no-pager -o cat >&2; exit 1; }}
touch {DIRECTORY}/applied",
            netns = NatBox::NETNS,
            up = quote(&up),
            down = quote(DOWN),
            service = quote(SERVICE),
            unit = NatBox::UNIT,
        );
        self.script_ok(&script, None, Duration::from_secs(90))
            .await
            .map(drop)
            .map_err(|e| e.or_full(DIRECTORY, script.len() as u64))
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
