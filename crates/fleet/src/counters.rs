//! Counting packets on a host, at the interface to the internet: outside of any
//! NAT box, so that what is counted has outer addresses.
//!
//! An nftables table of our own that counts and decides nothing. Every chain in
//! it accepts, and no other table is read or changed.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::flow::{FlowKey, MEMORY, Tally};
use model::inventory::Transport;

use crate::error::FleetError;
use crate::host::Host;
use crate::quote::quote;

/// Removed by `clean`.
pub(crate) const TABLE: &str = "inet vps_test_counters";

/// Flows that a set holds at once. One that is full says so.
const SIZE: u32 = 65_535;

const SOON: Duration = Duration::from_secs(20);

/// What a host counted of the flows that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    pub left: Vec<(FlowKey, Tally)>,
    pub arrived: Vec<(FlowKey, Tally)>,
}

impl Host {
    /// Counts from now on, from zero. Returns the addresses that the host has
    /// outside.
    ///
    /// # Errors
    /// There is no `nft`, no way out, or the kernel refuses.
    pub async fn start_counting(&self) -> Result<Vec<IpAddr>, FleetError> {
        let answer = self.script_ok(&start_script(), None, SOON).await?;
        Ok(answer
            .lines()
            .filter_map(|l| l.trim().parse().ok())
            .collect())
    }

    /// Flows that start or end at one of these endpoints.
    ///
    /// # Errors
    /// Nobody counts here (any more), or some packets were not counted.
    pub async fn counted(&self, touching: &[SocketAddr]) -> Result<Counted, FleetError> {
        let script = list_script(touching);
        let asked = Timestamp::now();
        let answer = self.script_ok(&script, None, SOON).await?;
        let middle = asked + Timestamp::now().duration_since(asked) / 2;
        read(&answer, middle).map_err(|stderr| FleetError::Failed {
            node: self.name().clone(),
            command: format!("nft list table {TABLE}"),
            status: 0,
            stderr,
        })
    }

    /// UDP that left the host since it counts, in bytes with the headers of IP.
    ///
    /// # Errors
    /// Nobody counts here (any more).
    pub async fn udp_sent(&self) -> Result<u64, FleetError> {
        let script = format!("nft list counter {TABLE} udp_sent");
        let said = self.script_ok(&script, None, SOON).await?;
        let words: Vec<&str> = said.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "bytes");
        let bytes = at.and_then(|at| words.get(at + 1)?.parse().ok());
        bytes.ok_or_else(|| FleetError::Failed {
            node: self.name().clone(),
            command: script,
            status: 0,
            stderr: format!("cannot read `{}`", said.trim()),
        })
    }
}

/// Nothing is sent to the two addresses: the kernel is asked which way they are.
fn start_script() -> String {
    format!(
        "set -eu
command -v nft >/dev/null || {{ echo 'nft is not there; install nftables' >&2; exit 1; }}
way_out() {{ ip -o -$1 route get $2 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p'; }}
devices=$({{ way_out 4 192.0.2.1; way_out 6 2001:db8::1; }} | grep -vx lo | sort -u)
[ -n \"$devices\" ] || {{ echo 'no route to the internet' >&2; exit 1; }}
outside=$(printf '\"%s\", ' $devices)
nft -f - <<RULES
{rules}RULES
for device in $devices; do
  ip -o addr show dev $device scope global | awk '{{ split($4, address, \"/\"); print address[1] }}'
done",
        rules = ruleset()
    )
}

/// `add` keeps an element as it was, so that its expiry tells when a flow began;
/// `update` renews it, so that it tells when it was last seen. A rule whose set
/// is full does not get to its `return`, and the packet is counted as missed.
fn ruleset() -> String {
    let mut sets = String::new();
    let mut chains = String::new();
    let hooks = [
        ("left", "oifname", "postrouting", "srcnat + 50"),
        ("arrived", "iifname", "prerouting", "raw"),
    ];
    for (way, device, hook, priority) in hooks {
        let mut rules = String::new();
        if way == "left" {
            let _ = writeln!(rules, "    meta l4proto udp counter name udp_sent");
        }
        for (version, family, address) in [("4", "ip", "ipv4_addr"), ("6", "ip6", "ipv6_addr")] {
            for set in [format!("{way}{version}"), format!("{way}{version}_first")] {
                let _ = writeln!(
                    sets,
                    "  set {set} {{ type inet_proto . {address} . inet_service . {address} . inet_service; \
                     flags dynamic,timeout; timeout {}s; size {SIZE}; }}",
                    MEMORY.as_secs()
                );
            }
            let key =
                format!("meta l4proto . {family} saddr . th sport . {family} daddr . th dport");
            let _ = write!(
                rules,
                "    add @{way}{version}_first {{ {key} }}
    update @{way}{version} {{ {key} counter }} return
"
            );
        }
        let _ = write!(
            chains,
            "  chain {way} {{
    type filter hook {hook} priority {priority}; policy accept;
    {device} != {{ $outside }} return
    meta l4proto != {{ tcp, udp }} return
{rules}    counter name missed
  }}
"
        );
    }
    format!(
        "table {TABLE}
delete table {TABLE}
table {TABLE} {{
  counter missed {{ }}
  counter udp_sent {{ }}
{sets}{chains}}}
"
    )
}

/// Prints `SET ELEMENT` for every element with one of these endpoints.
fn list_script(touching: &[SocketAddr]) -> String {
    let wanted: Vec<String> = touching
        .iter()
        .map(|a| format!(" {} . {} ", a.ip(), a.port()))
        .collect();
    format!(
        "set -eu
listed=$(nft list table {TABLE})
printf '%s\\n' \"$listed\" | awk -v wanted={wanted} '
BEGIN {{ count = split(wanted, ends, \"|\") }}
$1 == \"set\" {{ set = $2 }}
$1 == \"counter\" {{ counter = $2 }}
$1 == \"packets\" && counter == \"missed\" {{ print \"missed\", $2 }}
/ expires / {{
  parts = split($0, part, \",\")
  for (i = 1; i <= parts; i++) for (j = 1; j <= count; j++)
    if (index(part[i] \" \", ends[j])) {{ print set, part[i]; break }}
}}'",
        wanted = quote(&wanted.join("|"))
    )
}

/// What [`list_script`] printed at this time.
fn read(text: &str, now: Timestamp) -> Result<Counted, String> {
    let mut counted = Counted::default();
    let mut firsts = Vec::new();
    for line in text.lines() {
        if let Some(missed) = line.strip_prefix("missed ") {
            if missed.trim() != "0" {
                return Err(format!(
                    "{} packets were not counted: more than {SIZE} flows at once",
                    missed.trim()
                ));
            }
            continue;
        }
        let element = Element::read(line).ok_or_else(|| format!("cannot read `{line}`"))?;
        let seen = now - (MEMORY - element.expires);
        let tally = Tally {
            packets: element.packets,
            bytes: element.payload(),
            first: None,
            last: Some(seen),
        };
        match element.set.trim_end_matches(['4', '6']) {
            "left" => counted.left.push((element.flow, tally)),
            "arrived" => counted.arrived.push((element.flow, tally)),
            first => firsts.push((first.starts_with("left"), element.flow, seen)),
        }
    }
    for (left, flow, seen) in firsts {
        let side = if left {
            &mut counted.left
        } else {
            &mut counted.arrived
        };
        for (_, tally) in side.iter_mut().filter(|(key, _)| *key == flow) {
            tally.first = Some(seen);
        }
    }
    Ok(counted)
}

/// `left4 17 . 10.0.0.1 . 44205 . 10.0.0.2 . 991 counter packets 1 bytes 34 expires 4m59s984ms`
struct Element<'a> {
    set: &'a str,
    flow: FlowKey,
    packets: u64,
    /// IP headers included.
    bytes: u64,
    expires: SignedDuration,
}

impl<'a> Element<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (set, rest) = line.split_once(' ')?;
        let rest = rest.trim_start_matches([' ', '\t', '=', '{']);
        let rest = rest.strip_prefix("elements = { ").unwrap_or(rest);
        let (key, state) = match rest.split_once(" counter ") {
            Some(parts) => parts,
            None => rest.split_once(" expires ").map(|(key, _)| (key, rest))?,
        };
        let fields: Vec<&str> = key.split(" . ").map(str::trim).collect();
        let [protocol, source, from, destination, to] = fields[..] else {
            return None;
        };
        let end =
            |ip: &str, port: &str| Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?));
        let words: Vec<&str> = state.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|w| *w == word)?;
            words.get(at + 1).copied()
        };
        Some(Self {
            set,
            flow: FlowKey {
                transport: match protocol {
                    "udp" | "17" => Transport::Udp,
                    "tcp" | "6" => Transport::Tcp,
                    _ => return None,
                },
                source: end(source, from)?,
                destination: end(destination, to)?,
            },
            packets: after("packets").and_then(|n| n.parse().ok()).unwrap_or(0),
            bytes: after("bytes").and_then(|n| n.parse().ok()).unwrap_or(0),
            expires: expiry(after("expires")?)?,
        })
    }

    /// TCP's options are not known here, and count as payload.
    fn payload(&self) -> u64 {
        let ip = if self.flow.source.is_ipv4() { 20 } else { 40 };
        let transport = match self.flow.transport {
            Transport::Udp => 8,
            Transport::Tcp => 20,
        };
        self.bytes.saturating_sub(self.packets * (ip + transport))
    }
}

/// `4m59s984ms`, as nft writes it.
fn expiry(text: &str) -> Option<SignedDuration> {
    let mut total = SignedDuration::ZERO;
    let mut rest = text.trim_end_matches('}');
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: i64 = number.parse().ok()?;
        total += match unit {
            "ms" => SignedDuration::from_millis(number),
            "s" => SignedDuration::from_secs(number),
            "m" => SignedDuration::from_mins(number),
            "h" => SignedDuration::from_hours(number),
            _ => return None,
        };
        rest = tail;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "missed 0
left4 \t\telements = { udp . 198.18.4.10 . 22001 . 198.18.5.10 . 9000 counter packets 3 bytes 3084 expires 4m59s900ms
left4_first \t\telements = { udp . 198.18.4.10 . 22001 . 198.18.5.10 . 9000 expires 4m58s
arrived6  tcp . 2001:db8::1 . 22 . 2001:db8::2 . 4000 counter packets 1 bytes 160 expires 5s }
";

    #[test]
    fn elements_are_flows_with_times() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let counted = read(LISTED, now).unwrap();
        let (flow, tally) = counted.left[0];
        assert_eq!(flow.source, "198.18.4.10:22001".parse().unwrap());
        assert_eq!((tally.packets, tally.bytes), (3, 3000));
        assert_eq!(tally.first, Some(now - SignedDuration::from_secs(2)));
        assert_eq!(tally.last, Some(now - SignedDuration::from_millis(100)));
        let (flow, tally) = counted.arrived[0];
        assert_eq!(flow.transport, Transport::Tcp);
        assert_eq!((tally.packets, tally.bytes), (1, 100));
    }

    #[test]
    fn a_full_set_is_an_error_and_no_zero() {
        let error = read("missed 12\n", Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(error.contains("12 packets were not counted"), "{error}");
        assert!(read("left4 rubbish expires never", Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn the_table_counts_and_decides_nothing() {
        let rules = ruleset();
        for verdict in ["drop", "reject", "accept;\n", "snat", "dnat", "queue"] {
            let without_policy = rules.replace("policy accept;\n", "");
            assert!(!without_policy.contains(verdict), "{verdict} in\n{rules}");
        }
        insta::assert_snapshot!(rules);
    }
}
