//! A NAT as an nftables ruleset. `docs/nat-boxes.md` explains each line.
//!
//! The text is for a shell's here-document: `$WAN` and `$OUTER` are device and
//! address of the way out, `$PORTS` is what [`ports`] prints. One idea makes all
//! nine behaviours: the first packet of a mapping draws the next port of a
//! shuffled list, and a map remembers it under what the mapping depends on.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{Behaviour, Cgnat, Filtering, Inbound, Mapping, NatSpec, Udp};
use crate::protocol::PortRange;

/// How many outer ports a NAT that does not keep ports has to give.
const DRAWN: u16 = 4096;

/// Inner hosts that have a block of ports of their own: the addresses from `.2` up.
const BLOCKS: u8 = 8;

/// How long a mapping lives where nothing is configured, in seconds (RFC 4787, REQ-5).
const MAPPING_SECONDS: u16 = 120;

/// One NAT on one router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Router {
    pub behaviour: Behaviour,
    pub port_preservation: bool,
    pub port_block: Option<u16>,
    pub hairpin: bool,
    pub udp_timeout: Option<u16>,
    pub udp: Udp,
    pub inbound: Inbound,
}

/// Where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The device towards the inner hosts.
    pub inside: &'a str,
    /// The inner hosts' /24, by its network address.
    pub inner: Ipv4Addr,
    /// Outer ports of the tested services.
    pub ports: PortRange,
}

impl NatSpec {
    /// The box in front of the testers.
    pub fn router(&self) -> Router {
        Router {
            behaviour: self.behaviour,
            port_preservation: self.port_preservation,
            port_block: self.port_block,
            hairpin: self.hairpin,
            udp_timeout: self.udp_timeout,
            udp: self.udp,
            inbound: self.inbound,
        }
    }
}

impl From<Cgnat> for Router {
    fn from(carrier: Cgnat) -> Self {
        Self {
            behaviour: carrier.behaviour,
            port_preservation: false,
            port_block: Some(carrier.port_block),
            hairpin: carrier.hairpin,
            udp_timeout: carrier.udp_timeout,
            udp: Udp::Open,
            inbound: Inbound::Dropped,
        }
    }
}

impl Router {
    /// `table ip NAME { … }`.
    pub fn ruleset(&self, table: &str, place: Place<'_>) -> String {
        let mut text = format!("table ip {table} {{\n");
        self.state(&mut text);
        self.out(&mut text, place);
        self.record(&mut text, place);
        self.back(&mut text, place);
        self.input(&mut text, place);
        if self.udp == Udp::Blocked {
            let inside = place.inside;
            let _ = write!(
                text,
                "  chain forward {{
    type filter hook forward priority filter - 10;
    iifname {inside} meta l4proto udp drop;
    oifname {inside} meta l4proto udp drop;
  }}\n"
            );
        }
        text.push_str("}\n");
        text
    }

    fn state(&self, text: &mut String) {
        let key = match self.behaviour.mapping {
            Mapping::Eim => "ipv4_addr . inet_service",
            Mapping::Adm => "ipv4_addr . inet_service . ipv4_addr",
            Mapping::Apdm => "ipv4_addr . inet_service . ipv4_addr . inet_service",
        };
        let life = format!(
            "flags dynamic,timeout; timeout {}s;",
            self.udp_timeout.unwrap_or(MAPPING_SECONDS)
        );
        let _ = writeln!(text, "  map mapped {{ type {key} : inet_service; {life} }}");
        if self.needs_open() {
            let _ = writeln!(
                text,
                "  map open {{ type inet_service : ipv4_addr . inet_service; {life} }}"
            );
        }
        if self.port_block.is_some() {
            let _ = writeln!(
                text,
                "  set owner {{ type inet_service . ipv4_addr . inet_service; {life} }}"
            );
        }
        if self.behaviour.filtering == Filtering::Adf {
            let _ = writeln!(
                text,
                "  set permitted {{ type inet_service . ipv4_addr; {life} }}"
            );
        }
    }

    /// Which outer port a flow leaves by. Only the first packet of a flow comes here.
    fn out(&self, text: &mut String, place: Place<'_>) {
        let (from, key) = (self.outgoing(place), self.key());
        let _ = write!(
            text,
            "  chain out {{
    type nat hook postrouting priority srcnat;
    {from} meta l4proto udp snat ip to $OUTER : {key} map @mapped;\n"
        );
        if let Some(size) = self.port_block {
            for index in 0..blocks(size, place.ports) {
                let host = host(place.inner, index);
                let _ = writeln!(
                    text,
                    "    {from} ip saddr {host} meta l4proto udp snat ip to $OUTER : numgen inc mod {size} map {{ $BLOCK{index} }};"
                );
            }
        } else if !self.port_preservation {
            let size = drawn(place.ports);
            let _ = writeln!(
                text,
                "    {from} meta l4proto udp snat ip to $OUTER : numgen inc mod {size} map {{ $PORTS }};"
            );
        }
        let _ = writeln!(text, "    {from} snat ip to $OUTER;");
        if self.behaviour.filtering != Filtering::Apdf {
            // The kernel would rather give a stranger another port than refuse one
            // whose answer is bound to leave by another mapping.
            let Place { inside, inner, .. } = place;
            let _ = writeln!(
                text,
                "    ip saddr != {inner}/24 oifname {inside} meta l4proto udp snat ip to ip saddr : udp sport;"
            );
        }
        text.push_str("  }\n");
    }

    /// Remembers mappings and permissions, after translation, with every packet out.
    fn record(&self, text: &mut String, place: Place<'_>) {
        let mut asked = Vec::new();
        let mut answered = Vec::new();
        if self.port_block.is_some() {
            let owner = "udp sport . ct original ip saddr . ct original proto-src";
            asked.push(format!("udp sport @open {owner} != @owner drop"));
            asked.push(format!("update @owner {{ {owner} }}"));
        }
        if !self.port_preservation {
            asked.push(format!("update @mapped {{ {} : udp sport }}", self.key()));
        }
        for (rules, side) in [(&mut asked, "original"), (&mut answered, "reply")] {
            if self.needs_open() {
                rules.push(format!(
                    "update @open {{ udp sport : ct {side} ip saddr . ct {side} proto-src }}"
                ));
            }
            if self.behaviour.filtering == Filtering::Adf {
                rules.push("update @permitted { udp sport . ip daddr }".into());
            }
        }
        if asked.is_empty() && answered.is_empty() {
            return;
        }
        let (inner, devices) = (place.inner, self.way_out(place));
        text.push_str("  chain record {\n    type filter hook postrouting priority srcnat + 10;\n");
        for (rules, side) in [(asked, "original"), (answered, "reply")] {
            for rule in rules {
                let _ = writeln!(
                    text,
                    "    {devices} meta l4proto udp ct direction {side} ct {side} ip saddr {inner}/24 {rule};"
                );
            }
        }
        text.push_str("  }\n");
    }

    /// Who comes in without having been sent to. Connection tracking lets in the rest.
    fn back(&self, text: &mut String, place: Place<'_>) {
        let to_owner = "dnat ip to udp dport map @open";
        let mut rules = Vec::new();
        match self.behaviour.filtering {
            Filtering::Eif => rules.push(format!("iifname $WAN meta l4proto udp {to_owner}")),
            Filtering::Adf => rules.push(format!(
                "iifname $WAN meta l4proto udp udp dport . ip saddr @permitted {to_owner}"
            )),
            Filtering::Apdf => {}
        }
        if self.hairpin {
            rules.push(format!(
                "iifname {} ip daddr $OUTER meta l4proto udp {to_owner}",
                place.inside
            ));
        }
        if rules.is_empty() {
            return;
        }
        text.push_str("  chain back {\n    type nat hook prerouting priority dstnat;\n");
        for rule in rules {
            let _ = writeln!(text, "    {rule};");
        }
        text.push_str("  }\n");
    }

    /// What strangers send must not make entries that take a port away.
    fn input(&self, text: &mut String, place: Place<'_>) {
        if self.inbound == Inbound::CreatesState {
            return;
        }
        let PortRange { first, last } = place.ports;
        let _ = write!(
            text,
            "  chain input {{
    type filter hook input priority filter;
    iifname {{ $WAN, {} }} udp dport {first}-{last} ct state new drop;
  }}\n",
            place.inside
        );
    }

    fn needs_open(&self) -> bool {
        self.behaviour.filtering != Filtering::Apdf || self.hairpin || self.port_block.is_some()
    }

    /// What a mapping depends on, in words that mean the same before and after
    /// translation.
    fn key(&self) -> &'static str {
        match self.behaviour.mapping {
            Mapping::Eim => "ct original ip saddr . ct original proto-src",
            Mapping::Adm => "ct original ip saddr . ct original proto-src . ct original ip daddr",
            Mapping::Apdm => {
                "ct original ip saddr . ct original proto-src . ct original ip daddr . ct original proto-dst"
            }
        }
    }

    fn outgoing(&self, place: Place<'_>) -> String {
        format!("ip saddr {}/24 {}", place.inner, self.way_out(place))
    }

    fn way_out(&self, place: Place<'_>) -> String {
        if self.hairpin {
            format!("oifname {{ $WAN, {} }}", place.inside)
        } else {
            "oifname $WAN".into()
        }
    }

    /// Shell assignments of the lists of ports that the ruleset names, shuffled
    /// anew each time they are run.
    pub fn ports(&self, ports: PortRange) -> String {
        let list = |name: &str, first: u16, of: u16, take: u16| {
            format!("{name}=$(shuffled {first} {of} {take})\n")
        };
        let shuffled = SHUFFLED.replace("SEED", SEED);
        if let Some(size) = self.port_block {
            let each = (0..blocks(size, ports)).map(|index| {
                let first = ports.first + u16::from(index) * size;
                list(&format!("BLOCK{index}"), first, size, size)
            });
            return format!("{shuffled}{}", each.collect::<String>());
        }
        if self.port_preservation {
            return String::new();
        }
        let all = ports.last - ports.first + 1;
        format!(
            "{shuffled}{}",
            list("PORTS", ports.first, all, drawn(ports))
        )
    }
}

/// A seed for awk, as a word of a shell. Half of 32 bits: mawk takes everything above
/// for one and the same, and a box that was made anew would draw the ports of the flows
/// that the kernel still remembers, and lose its own.
pub const SEED: &str = "$(($(od -An -N4 -tu4 /dev/urandom) / 2))";

/// Numbered ports out of a range, in no order that anybody could guess.
const SHUFFLED: &str = r#"shuffled() {
  awk -v first="$1" -v all="$2" -v take="$3" -v seed="SEED" 'BEGIN {
    srand(seed); for (i = 0; i < all; i++) port[i] = first + i
    for (i = 0; i < take; i++) {
      j = i + int(rand() * (all - i)); drawn = port[j]; port[j] = port[i]; port[i] = drawn
      printf "%s%d : %d", (i ? ", " : ""), i, drawn
    }
  }'
}
"#;

fn drawn(ports: PortRange) -> u16 {
    DRAWN.min(ports.last - ports.first + 1)
}

fn blocks(size: u16, ports: PortRange) -> u8 {
    let fit = (ports.last - ports.first + 1) / size.max(1);
    u8::try_from(fit).unwrap_or(u8::MAX).clamp(1, BLOCKS)
}

/// The inner host of a block.
fn host(inner: Ipv4Addr, index: u8) -> Ipv4Addr {
    let [a, b, c, _] = inner.octets();
    Ipv4Addr::new(a, b, c, 2 + index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place {
        inside: "natbox0",
        inner: Ipv4Addr::new(10, 213, 77, 0),
        ports: PortRange {
            first: 12000,
            last: 31999,
        },
    };

    #[test]
    fn the_nine_rulesets() {
        let all: Vec<String> = Behaviour::ALL
            .iter()
            .map(|behaviour| {
                let rules = NatSpec::from(*behaviour).router().ruleset("nat", PLACE);
                format!("# {behaviour}\n{rules}")
            })
            .collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn what_else_there_is() {
        let plain = NatSpec::from(Behaviour::PORT_RESTRICTED);
        let odd = [
            NatSpec {
                hairpin: true,
                udp_timeout: Some(20),
                ..plain
            },
            NatSpec {
                port_preservation: false,
                udp: Udp::Blocked,
                ..plain
            },
            NatSpec {
                inbound: Inbound::CreatesState,
                ..plain
            },
        ];
        let mut all: Vec<String> = odd
            .iter()
            .map(|spec| format!("# {spec}\n{}", spec.router().ruleset("nat", PLACE)))
            .collect();
        let carrier = Router::from(Cgnat {
            behaviour: Behaviour::FULL_CONE,
            port_block: 8192,
            hairpin: false,
            udp_timeout: None,
        });
        all.push(format!(
            "# a carrier's\n{}\n{}",
            carrier.ports(PLACE.ports),
            carrier.ruleset("nat", PLACE)
        ));
        insta::assert_snapshot!(all.join("\n"));
    }
}
