//! A stateful IPv6 firewall in front of the services behind a NAT box: no
//! translation, and nothing comes in that was not asked for. A unit of its own,
//! beside the box, whose namespace it gives a second device with an address.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use model::inventory::Node;
use model::nat::Udp;

use crate::error::FleetError;
use crate::host::{Host, ONE_AT_A_TIME, PUT};
use crate::natbox::{NatBox, let_forward};
use crate::quote::quote;

const DIRECTORY: &str = "/var/lib/vps-test/firewall6";
const UNIT: &str = "vps-test-firewall6.service";

/// Of the inner address, in the host's own /64.
const INTERFACE: u128 = 0x0000_0213_0077_0002;

/// Where services behind the firewall of a host live: in its own /64, which the
/// provider leads to it. Nothing translates, so this is what others see.
pub fn inner_v6_address(host: Ipv6Addr) -> Ipv6Addr {
    let network = host.to_bits() & !u128::from(u64::MAX);
    Ipv6Addr::from(network | INTERFACE)
}

/// Every address that others may see packets of this node come from.
pub fn outer_addresses(node: &Node) -> Vec<IpAddr> {
    let inner = node.addresses.iter().filter_map(|address| match address {
        IpAddr::V6(v6) if !node.is_public() => Some(inner_v6_address(*v6).into()),
        _ => None,
    });
    node.addresses.iter().copied().chain(inner).collect()
}

fn up_script(host: Ipv6Addr, udp: Udp) -> String {
    let inner = inner_v6_address(host);
    let no_udp = match udp {
        Udp::Open => "",
        Udp::Blocked => {
            "    iifname firewall0 meta l4proto udp drop\n    oifname firewall0 meta l4proto udp drop\n"
        }
    };
    format!(
        "#!/bin/sh
# An IPv6 firewall for the services in the namespace natbox.
set -eu
sh {DIRECTORY}/down
trap '[ $? = 0 ] || sh {DIRECTORY}/down' EXIT
# While a host boots it may have no way out yet. Nothing is sent to this address.
tries=0
until WAN=$(ip -6 route get 2001:db8::1 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p') && [ -n \"$WAN\" ]; do
  tries=$((tries + 1))
  [ $tries -lt 60 ] || {{ echo 'no IPv6 route to the internet' >&2; exit 1; }}
  sleep 1
done
conf=/proc/sys/net/ipv6/conf
# IPv6 forwards on all devices or on none, and a router believes no advertised
# route, by which many hosts have theirs, unless it is told to.
remember() {{ echo \"$1 $(cat $1)\" >> {DIRECTORY}/before; echo $2 > $1; }}
: > {DIRECTORY}/before
if [ \"$(cat $conf/all/forwarding)\" = 0 ]; then
  [ \"$(cat $conf/$WAN/accept_ra)\" != 1 ] || remember $conf/$WAN/accept_ra 2
  remember $conf/all/forwarding 1
fi
# Where the /64 is on the link and not routed, the router asks for the address.
remember $conf/$WAN/proxy_ndp 1
echo \"{inner} $WAN\" > {DIRECTORY}/proxied
ip -6 neigh add proxy {inner} dev $WAN
# Filters first, so that nothing gets through before they are there.
nft -f - <<RULES
table ip6 vps_test_firewall {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
{no_udp}    oifname firewall0 ct state established,related accept
    oifname firewall0 drop
  }}
}}
RULES
ip link add firewall0 type veth peer name eth1 netns natbox
ip -6 addr add fe80::1/64 dev firewall0 nodad
ip link set firewall0 up
ip -n natbox link set eth1 up
ip -n natbox -6 addr add fe80::2/64 dev eth1 nodad
ip -n natbox -6 addr add {inner}/128 dev eth1 nodad
ip -6 route add {inner}/128 dev firewall0
ip -n natbox -6 route add default via fe80::1 dev eth1 src {inner}
{others}",
        others = let_forward("ip6|inet", "firewall0", "vps_test_firewall", MARK),
    )
}

/// Comment of the rules that other tables have of ours.
const MARK: &str = "vps-test firewall6";

const DOWN: &str = r#"#!/bin/sh
# Removes the firewall and nothing else.
directory=/var/lib/vps-test/firewall6
nft -a list ruleset 2>/dev/null |
awk '$1 == "table" { table = $2 " " $3 } $1 == "chain" { chain = $2 }
  /comment "vps-test firewall6" # handle/ { print table, chain, $NF }' |
while read -r family table chain handle; do nft delete rule $family $table $chain handle $handle; done
ip link delete firewall0 2>/dev/null || true
nft delete table ip6 vps_test_firewall 2>/dev/null || true
if [ -e $directory/proxied ]; then
  read -r address device < $directory/proxied
  ip -6 neigh del proxy $address dev $device 2>/dev/null || true
  rm -f $directory/proxied
fi
if [ -e $directory/before ]; then
  while read -r file value; do echo $value > $file; done < $directory/before
  rm -f $directory/before
fi
"#;

fn service() -> String {
    format!(
        "# Installed by vps-test
[Unit]
Description=IPv6 firewall of vps-test
Requires={natbox}
PartOf={natbox}
After={natbox}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {DIRECTORY}/up
ExecStop=/bin/sh {DIRECTORY}/down

[Install]
WantedBy=multi-user.target
",
        natbox = NatBox::UNIT,
    )
}

/// Where there is one, as a part of a script.
pub(crate) const REMOVE: &str = "if [ -e /etc/systemd/system/vps-test-firewall6.service ]; then
  systemctl disable -q --now vps-test-firewall6.service 2>/dev/null
  rm -f /etc/systemd/system/vps-test-firewall6.service
fi
[ -e /var/lib/vps-test/firewall6/down ] && sh /var/lib/vps-test/firewall6/down
rm -rf /var/lib/vps-test/firewall6
";

impl Host {
    /// Puts a stateful firewall in front of the NAT box's namespace, which must be
    /// there, and gives it an address in the /64 of this one. Does nothing where
    /// it stands.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn apply_firewall(&self, address: Ipv6Addr, udp: Udp) -> Result<(), FleetError> {
        let script = format!(
            "set -eu; {ONE_AT_A_TIME}
{PUT}
mkdir -p {DIRECTORY}; cd {DIRECTORY}
put {DIRECTORY}/up {up}
put {DIRECTORY}/down {down}
put /etc/systemd/system/{UNIT} {service}
if [ -e {DIRECTORY}/applied ] && systemctl is-active -q {UNIT} &&
  ip -n natbox -6 addr show dev eth1 2>/dev/null | grep -q ' {inner}/' &&
  nft list table ip6 vps_test_firewall >/dev/null 2>&1; then exit 0; fi
systemctl daemon-reload
systemctl enable -q {UNIT} 2>/dev/null
systemctl restart {UNIT} || {{ journalctl -u {UNIT} -n 20 --no-pager -o cat >&2; exit 1; }}
touch {DIRECTORY}/applied",
            up = quote(&up_script(address, udp)),
            down = quote(DOWN),
            service = quote(&service()),
            inner = inner_v6_address(address),
        );
        self.script_ok(&script, None, Duration::from_secs(90))
            .await
            .map(drop)
            .map_err(|e| e.or_full(DIRECTORY, script.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_address_is_in_the_hosts_64() {
        let host: Ipv6Addr = "3018:7::10".parse().unwrap();
        assert_eq!(inner_v6_address(host).to_string(), "3018:7::213:77:2");
        let other: Ipv6Addr = "2a01:4f8:c0c:1234::1".parse().unwrap();
        assert_eq!(
            inner_v6_address(other).to_string(),
            "2a01:4f8:c0c:1234:0:213:77:2"
        );
    }

    #[test]
    fn every_script_is_one_that_a_shell_understands() {
        let host: Ipv6Addr = "3018:7::10".parse().unwrap();
        let scripts = [Udp::Open, Udp::Blocked].map(|udp| up_script(host, udp));
        for script in scripts.iter().map(String::as_str).chain([DOWN, REMOVE]) {
            let status = std::process::Command::new("sh")
                .args(["-n", "-c", script])
                .status();
            assert!(status.unwrap().success(), "{script}");
        }
    }
}
