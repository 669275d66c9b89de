//! A stateful IPv6 firewall in front of the services behind a NAT box: no
//! translation, and nothing comes in that was not asked for. A unit of its own,
//! beside the box, whose namespace it gives an address.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::error::FleetError;
use crate::host::Host;
use crate::natbox::NatBox;
use crate::quote::quote;

const DIRECTORY: &str = "/var/lib/vps-test/firewall6";
const UNIT: &str = "vps-test-firewall6.service";

/// Of the inner address, in the host's own /64.
const INTERFACE: u64 = 0x0000_0213_0077_0002;

/// Where services behind the firewall of a host live: in its own /64, which the
/// provider leads to it. Nothing translates, so this is what others see.
pub fn inner_v6_address(host: Ipv6Addr) -> Ipv6Addr {
    let network = host.to_bits() & !u128::from(u64::MAX);
    Ipv6Addr::from(network | u128::from(INTERFACE))
}

fn up_script(host: Ipv6Addr) -> String {
    let inner = inner_v6_address(host);
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
  [ \"$(cat $conf/$WAN/accept_ra)\" = 1 ] && remember $conf/$WAN/accept_ra 2
  remember $conf/all/forwarding 1
fi
# Where the /64 is on the link and not routed, the router asks for the address.
remember $conf/$WAN/proxy_ndp 1
ip -6 neigh add proxy {inner} dev $WAN
ip -6 addr add fe80::1/64 dev natbox0 nodad
ip -6 route add {inner}/128 dev natbox0
ip -n natbox -6 addr add {inner}/128 dev eth0 nodad
ip -n natbox -6 addr add fe80::2/64 dev eth0 nodad
ip -n natbox -6 route add default via fe80::1 dev eth0 src {inner}
nft -f - <<RULES
table ip6 vps_test_firewall {{
  chain forward {{
    type filter hook forward priority filter;
    oifname natbox0 ct state established,related accept;
    oifname natbox0 drop;
  }}
}}
RULES
"
    )
}

const DOWN: &str = r"#!/bin/sh
# Removes the firewall and nothing else.
nft delete table ip6 vps_test_firewall 2>/dev/null || true
before=/var/lib/vps-test/firewall6/before
ip -6 neigh show proxy 2>/dev/null | sed -n 's/^\([^ ]*:213:77:2\) dev \([^ ]*\).*/\1 \2/p' |
while read -r address device; do ip -6 neigh del proxy $address dev $device; done
ip -6 addr flush dev natbox0 2>/dev/null || true
ip -6 route flush dev natbox0 2>/dev/null || true
ip -n natbox -6 addr flush dev eth0 2>/dev/null || true
ip -n natbox -6 route flush dev eth0 2>/dev/null || true
if [ -e $before ]; then
  while read -r file value; do echo $value > $file; done < $before
  rm -f $before
fi
";

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

impl Host {
    /// Puts a stateful firewall in front of the NAT box's namespace, which must be
    /// there, and gives it an address in the /64 of this one. Does nothing where
    /// it stands.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn apply_firewall(&self, address: Ipv6Addr) -> Result<(), FleetError> {
        let script = format!(
            "set -eu
put() {{
  printf %s \"$2\" | cat > \"$1.new\"
  if cmp -s \"$1.new\" \"$1\"; then rm \"$1.new\"; else rm -f {DIRECTORY}/applied; mv \"$1.new\" \"$1\"; fi
}}
mkdir -p {DIRECTORY}
put {DIRECTORY}/up {up}
put {DIRECTORY}/down {down}
put /etc/systemd/system/{UNIT} {service}
if [ -e {DIRECTORY}/applied ] && systemctl is-active -q {UNIT} &&
  ip -n natbox -6 addr show dev eth0 | grep -q ' {inner}/' &&
  nft list table ip6 vps_test_firewall >/dev/null 2>&1; then exit 0; fi
systemctl daemon-reload
systemctl enable -q {UNIT} 2>/dev/null
systemctl restart {UNIT} || {{ journalctl -u {UNIT} -n 20 --no-pager -o cat >&2; exit 1; }}
touch {DIRECTORY}/applied",
            up = quote(&up_script(address)),
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
}
