//! What a host runs to make, change and remove its NAT box.

use std::fmt::Write;
use std::net::Ipv4Addr;

use model::nat::rules::{Place, Router, SEED};

use super::{DIRECTORY, INNER_ADDRESS, NatBox};

const TABLE: &str = "vps_test_natbox";

/// The network of services and their router.
const INNER: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 0);
/// The network of that router and a carrier's (RFC 6598).
const SHARED: Ipv4Addr = Ipv4Addr::new(100, 64, 77, 0);

impl NatBox {
    /// The router on the host itself, and the network behind it: a carrier's where
    /// there is one, and then the box's own stands in a namespace.
    fn outermost(&self) -> (Router, Ipv4Addr) {
        match self.spec.cgnat {
            Some(carrier) => (carrier.into(), SHARED),
            None => (self.spec.router(), INNER),
        }
    }
}

pub fn up(nat_box: &NatBox) -> String {
    let (outermost, inner) = nat_box.outermost();
    let place = Place {
        inside: "natbox0",
        inner,
        ports: nat_box.ports,
    };
    let wiring = match nat_box.spec.cgnat {
        None => ONE_NAT.to_owned(),
        Some(_) => two_nats(nat_box),
    };
    format!(
        "#!/bin/sh
# A NAT for the services in the namespace natbox: {spec}.
set -eu
sh {DIRECTORY}/down
trap '[ $? = 0 ] || sh {DIRECTORY}/down' EXIT
# While a host boots it may have no way out yet.
{WAY_OUT}
tries=0
until WAN=$(way_out dev) OUTER=$(way_out src) && [ -n \"$OUTER\" ]; do
  tries=$((tries + 1))
  [ $tries -lt 60 ] || {{ echo 'no route to the internet' >&2; exit 1; }}
  sleep 1
done
{wiring}# These two devices forward; whether the others do is not for us to say.
echo 1 > /proc/sys/net/ipv4/conf/natbox0/forwarding
if [ \"$(cat /proc/sys/net/ipv4/conf/$WAN/forwarding)\" = 0 ]; then
  echo $WAN > {DIRECTORY}/forwarding
  echo 1 > /proc/sys/net/ipv4/conf/$WAN/forwarding
fi
{ports}nft -f - <<RULES
{rules}RULES
{timeout}{others}",
        spec = nat_box.spec,
        ports = outermost.ports(nat_box.ports),
        rules = outermost.ruleset(TABLE, place),
        timeout = host_timeout(&outermost),
        others = let_forward("ip|inet", "natbox0", TABLE, "vps-test natbox"),
    )
}

/// Whoever filters what is forwarded, and Docker drops all it does not know, gets a
/// rule of ours, in tables of these families but our own. Docker leaves DOCKER-USER
/// to others.
pub fn let_forward(families: &str, device: &str, own: &str, comment: &str) -> String {
    let docker = if families.starts_with("ip6") {
        "ip6"
    } else {
        "ip"
    };
    format!(
        "# Whoever filters what is forwarded gets a rule of ours. Docker leaves DOCKER-USER to others.
nft list chains | awk '$1 == \"table\" {{ table = $2 \" \" $3 }} $1 == \"chain\" {{ chain = $2 }}
  /type filter hook forward/ && table ~ /^({families}) / && table !~ / {own}$/ {{ print table, chain }}' |
while read -r family table chain; do
  if [ \"$family $table $chain\" = '{docker} filter FORWARD' ] && nft list chain {docker} filter DOCKER-USER >/dev/null 2>&1
  then chain=DOCKER-USER; fi
  nft insert rule $family $table $chain iifname {device} accept comment '\"{comment}\"'
  nft insert rule $family $table $chain oifname {device} accept comment '\"{comment}\"'
done
"
    )
}

/// Nothing is sent to this address.
const WAY_OUT: &str =
    r#"way_out() { ip -4 route get 192.0.2.1 2>/dev/null | sed -n "s/.* $1 \([^ ]*\).*/\1/p"; }"#;

const ONE_NAT: &str = "ip netns add natbox
ip link add natbox0 type veth peer name eth0 netns natbox
ip addr add 10.213.77.1/24 dev natbox0
ip link set natbox0 up
ip -n natbox addr add 10.213.77.2/24 dev eth0
ip -n natbox link set lo up
ip -n natbox link set eth0 up
ip -n natbox route add default via 10.213.77.1
";

/// The box's own router in `natbox-home`, between the services and the carrier's.
fn two_nats(nat_box: &NatBox) -> String {
    let router = nat_box.spec.router();
    let place = Place {
        inside: "lan0",
        inner: INNER,
        ports: nat_box.ports,
    };
    let timeout = router.udp_timeout.map_or(String::new(), |seconds| {
        format!(
            "  ip netns exec natbox-home sh -c 'for of in /proc/sys/net/netfilter/nf_conntrack_udp_timeout*; do echo {seconds} > $of; done'\n"
        )
    });
    format!(
        "ip netns add natbox
ip netns add natbox-home
ip link add natbox0 type veth peer name wan0 netns natbox-home
ip addr add 100.64.77.1/24 dev natbox0
ip link set natbox0 up
ip -n natbox-home addr add 100.64.77.2/24 dev wan0
ip -n natbox-home link set lo up
ip -n natbox-home link set wan0 up
ip -n natbox-home route add default via 100.64.77.1
ip -n natbox-home link add lan0 type veth peer name eth0 netns natbox
ip -n natbox-home addr add 10.213.77.1/24 dev lan0
ip -n natbox-home link set lan0 up
ip -n natbox addr add 10.213.77.2/24 dev eth0
ip -n natbox link set lo up
ip -n natbox link set eth0 up
ip -n natbox route add default via 10.213.77.1
ip netns exec natbox-home sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
(
  WAN=wan0 OUTER=100.64.77.2
  {ports}  ip netns exec natbox-home nft -f - <<RULES
{rules}RULES
{timeout})
",
        ports = router.ports(nat_box.ports),
        rules = router.ruleset(TABLE, place),
    )
}

/// Connection tracking has one timeout for the whole host.
fn host_timeout(router: &Router) -> String {
    let Some(seconds) = router.udp_timeout else {
        return String::new();
    };
    format!(
        "# Connection tracking has one timeout for the whole host; `down` puts it back.
for of in nf_conntrack_udp_timeout nf_conntrack_udp_timeout_stream; do
  echo $of $(cat /proc/sys/net/netfilter/$of) >> {DIRECTORY}/timeouts
  echo {seconds} > /proc/sys/net/netfilter/$of
done
"
    )
}

pub const DOWN: &str = r#"#!/bin/sh
# Removes the NAT and nothing else.
nft -a list ruleset 2>/dev/null |
awk '$1 == "table" { table = $2 " " $3 } $1 == "chain" { chain = $2 }
  /comment "vps-test natbox" # handle/ { print table, chain, $NF }' |
while read -r family table chain handle; do nft delete rule $family $table $chain handle $handle; done
nft delete table ip vps_test_natbox 2>/dev/null || true
ip link delete natbox0 2>/dev/null || true
ip netns delete natbox 2>/dev/null || true
ip netns delete natbox-home 2>/dev/null || true
# Forwarding goes back to what it was, unless the whole host forwards by now.
turned_on=/var/lib/vps-test/natbox/forwarding
if [ -e $turned_on ]; then
  [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || echo 0 > /proc/sys/net/ipv4/conf/$(cat $turned_on)/forwarding
  rm -f $turned_on
fi
timeouts=/var/lib/vps-test/natbox/timeouts
if [ -e $timeouts ]; then
  while read -r of seconds; do echo $seconds > /proc/sys/net/netfilter/$of; done < $timeouts 2>/dev/null
  rm -f $timeouts
fi
"#;

/// Firewalls and Docker write their rules first: they would remove ours or drop
/// what ours let pass.
pub const SERVICE: &str = "# Installed by vps-test
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

const NEEDS: &str = "set -eu
nft list map ip vps_test_natbox mapped >/dev/null 2>&1 || { echo 'there is no NAT box; make one with `vps-test nat apply`' >&2; exit 1; }
command -v conntrack >/dev/null || { echo 'this needs `conntrack`, from the package of that name' >&2; exit 1; }
";

/// The rules of this box in place of those that there are, and none of the flows.
pub fn swap(nat_box: &NatBox) -> String {
    let (outermost, inner) = nat_box.outermost();
    let place = Place {
        inside: "natbox0",
        inner,
        ports: nat_box.ports,
    };
    format!(
        "{NEEDS}{WAY_OUT}
WAN=$(way_out dev) OUTER=$(way_out src)
{ports}nft -f - <<RULES
delete table ip {TABLE}
{rules}RULES
{forget}",
        ports = outermost.ports(nat_box.ports),
        rules = outermost.ruleset(TABLE, place),
        forget = forget(inner),
    )
}

/// Connection tracking has no UDP flow of services any more.
fn forget(network: Ipv4Addr) -> String {
    let inside = inside(network);
    format!(
        "for side in --orig-src --reply-src; do conntrack -D -p udp $side {inside} >/dev/null 2>&1 || true; done\n"
    )
}

/// Where the outermost router sees services in this network.
fn inside(network: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = network.octets();
    Ipv4Addr::new(a, b, c, INNER_ADDRESS.octets()[3])
}

/// The outermost router forgets what it knew. One that keeps ports is told which
/// other ones the flows of this moment get.
pub fn rebind(nat_box: &NatBox) -> String {
    let (router, inner) = nat_box.outermost();
    let inside = inside(inner);
    let mut script = NEEDS.to_owned();
    if router.port_preservation {
        let (first, all) = (
            nat_box.ports.first,
            nat_box.ports.last - nat_box.ports.first + 1,
        );
        let _ = write!(
            script,
            "other=$(conntrack -L -p udp --orig-src {inside} 2>/dev/null |
sed -n 's/.* src={inside} dst=[^ ]* sport=\\([0-9]*\\) .*/\\1/p' | sort -un |
awk -v seed=\"{SEED}\" '{{ taken[$1]; inner[++n] = $1 }} END {{
  srand(seed)
  for (i = 1; i <= n; i++) {{
    do port = {first} + int(rand() * {all}); while (port in taken)
    taken[port]; printf \"%s{inside} . %d timeout 1h : %d\", (i > 1 ? \", \" : \"\"), inner[i], port
  }}
}}')
"
        );
    }
    let _ = write!(
        script,
        "for of in mapped open; do nft flush map ip {TABLE} $of 2>/dev/null || true; done
for of in owner permitted; do nft flush set ip {TABLE} $of 2>/dev/null || true; done
"
    );
    if router.port_preservation {
        let _ = writeln!(
            script,
            "[ -z \"$other\" ] || nft \"add element ip {TABLE} mapped {{ $other }}\""
        );
    }
    script.push_str(&forget(inner));
    script
}

#[cfg(test)]
mod tests {
    use model::nat::{Behaviour, Cgnat, NatSpec};
    use model::protocol::PortRange;

    use super::*;

    fn nat_box(spec: NatSpec) -> NatBox {
        let ports = PortRange {
            first: 12000,
            last: 31999,
        };
        NatBox { spec, ports }
    }

    /// Shells differ in what they let pass; this one is what hosts have as `sh`.
    fn parses(script: &str) {
        let status = std::process::Command::new("sh")
            .args(["-n", "-c", script])
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
    }

    /// Flows of the last box that the kernel remembers must not meet this one's.
    #[test]
    fn no_two_boxes_draw_the_same_ports() {
        let spec = NatSpec::from(Behaviour::SYMMETRIC);
        let ports = nat_box(spec).ports;
        let script = format!("{}echo ${{PORTS%%,*}}", spec.router().ports(ports));
        let drawn: Vec<String> = (0..16)
            .map(|_| {
                let output = std::process::Command::new("sh")
                    .args(["-c", &script])
                    .output();
                String::from_utf8(output.unwrap().stdout).unwrap()
            })
            .collect();
        let different: std::collections::BTreeSet<&String> = drawn.iter().collect();
        assert!(different.len() > 12, "{drawn:?}");
    }

    #[test]
    fn every_script_is_one_that_a_shell_understands() {
        parses(DOWN);
        let cgnat = Cgnat {
            behaviour: Behaviour::FULL_CONE,
            port_block: 64,
            hairpin: true,
            udp_timeout: Some(20),
        };
        for behaviour in Behaviour::ALL {
            for cgnat in [None, Some(cgnat)] {
                let spec = NatSpec {
                    udp_timeout: Some(20),
                    cgnat,
                    ..NatSpec::from(behaviour)
                };
                parses(&up(&nat_box(spec)));
                parses(&rebind(&nat_box(spec)));
                parses(&swap(&nat_box(spec)));
            }
        }
    }
}
