//! What a node's NAT is to be, read and checked for contradictions.

use serde_saphyr::Spanned;

use super::{RawCgnat, RawNat, Reader};
use crate::nat::{Behaviour, Cgnat, Inbound, Mapping, NatSpec, Udp};

/// Ports of the tested services, of which a block is a part.
const MOST_PORTS: u32 = 16_384;

/// Shorter timeouts are over before a certificate is measured.
const TIMEOUTS: std::ops::RangeInclusive<u16> = 5..=3600;

const TYPES: [(&str, Behaviour); 4] = [
    ("full-cone", Behaviour::FULL_CONE),
    ("address-restricted", Behaviour::ADDRESS_RESTRICTED),
    ("port-restricted", Behaviour::PORT_RESTRICTED),
    ("symmetric", Behaviour::SYMMETRIC),
];

impl Reader<'_> {
    pub(super) fn spec(&mut self, nat: &Spanned<RawNat>) -> NatSpec {
        const UDP: [(&str, Udp); 2] = [("open", Udp::Open), ("blocked", Udp::Blocked)];
        const INBOUND: [(&str, Inbound); 2] = [
            ("dropped", Inbound::Dropped),
            ("creates-state", Inbound::CreatesState),
        ];
        let raw = &nat.value;
        let behaviour = self.behaviour(nat, &raw.kind, &raw.behaviour);
        let plain = NatSpec::from(behaviour.unwrap_or(Behaviour::PORT_RESTRICTED));
        let word = |word: &Option<Spanned<bool>>| word.as_ref().map(|w| w.value);
        let udp = raw
            .udp
            .as_ref()
            .and_then(|word| self.choice(word, "setting of UDP", &UDP));
        let inbound = raw
            .inbound
            .as_ref()
            .and_then(|word| self.choice(word, "treatment of inbound", &INBOUND));
        let block = self.block(raw.port_block.as_ref());
        let spec = NatSpec {
            port_preservation: word(&raw.port_preservation)
                .unwrap_or(plain.port_preservation && block.is_none()),
            port_block: block,
            hairpin: word(&raw.hairpin).unwrap_or(false),
            udp_timeout: self.timeout(raw.udp_timeout.as_ref()),
            udp: udp.unwrap_or_default(),
            inbound: inbound.unwrap_or_default(),
            cgnat: raw.cgnat.as_ref().map(|carrier| self.cgnat(carrier)),
            ..plain
        };
        self.contradictions(raw, &spec);
        spec
    }

    fn contradictions(&mut self, raw: &RawNat, spec: &NatSpec) {
        let moves_ports = spec.behaviour.mapping != Mapping::Eim;
        if let Some(at) = raw
            .port_preservation
            .as_ref()
            .filter(|keeps| keeps.value && (moves_ports || spec.port_block.is_some()))
        {
            let why = if moves_ports {
                format!("{} has another port for each destination", spec.behaviour)
            } else {
                "ports out of a block are not the inner ones".to_owned()
            };
            self.wrong(
                at,
                format!("this NAT cannot preserve ports: {why}"),
                "leave out `port_preservation`, or choose an endpoint-independent mapping without `port_block`",
            );
        }
        if let Some(at) = raw
            .inbound
            .as_ref()
            .filter(|_| spec.inbound == Inbound::CreatesState && !spec.keeps_ports())
        {
            self.wrong(
                at,
                "`inbound: creates-state` takes a port away from a NAT that keeps ports, and this one does not".into(),
                "leave it out, or choose an endpoint-independent mapping with `port_preservation: true` and no `cgnat`",
            );
        }
        if let Some(at) = raw
            .hairpin
            .as_ref()
            .filter(|hairpin| hairpin.value && spec.cgnat.is_some())
        {
            self.wrong(
                at,
                "what is sent to the outer address turns round at the carrier's NAT".into(),
                "write `hairpin` into `cgnat`",
            );
        }
        let others = [
            raw.hairpin
                .as_ref()
                .filter(|h| h.value)
                .map(|h| h.referenced),
            raw.udp_timeout.as_ref().map(|t| t.referenced),
            raw.inbound.as_ref().map(|i| i.referenced),
            raw.cgnat.as_ref().map(|c| c.referenced),
        ];
        if let Some(at) = raw.udp.as_ref().filter(|_| spec.udp == Udp::Blocked)
            && others.iter().any(Option::is_some)
        {
            self.wrong(
                at,
                "where UDP is blocked, nothing else can be said of UDP".into(),
                "leave out `hairpin`, `udp_timeout`, `inbound` and `cgnat`, or `udp: blocked`",
            );
        }
    }

    fn cgnat(&mut self, carrier: &Spanned<RawCgnat>) -> Cgnat {
        let raw = &carrier.value;
        let behaviour = if raw.kind.is_none() && raw.behaviour.is_none() {
            // RFC 6888, REQ-1 and REQ-7.
            Some(Behaviour::FULL_CONE)
        } else {
            self.behaviour(carrier, &raw.kind, &raw.behaviour)
        };
        Cgnat {
            behaviour: behaviour.unwrap_or(Behaviour::FULL_CONE),
            port_block: self
                .block(raw.port_block.as_ref())
                .unwrap_or(Cgnat::PORT_BLOCK),
            hairpin: raw.hairpin.as_ref().is_some_and(|h| h.value),
            udp_timeout: self.timeout(raw.udp_timeout.as_ref()),
        }
    }

    fn behaviour<T>(
        &mut self,
        whole: &Spanned<T>,
        kind: &Option<Spanned<String>>,
        behaviour: &Option<Spanned<String>>,
    ) -> Option<Behaviour> {
        match (kind, behaviour) {
            (Some(kind), None) => self.choice(kind, "NAT type", &TYPES),
            (None, Some(behaviour)) => {
                let parsed = behaviour.value.parse().ok();
                if parsed.is_none() {
                    self.wrong(behaviour, format!("`{}` is not a NAT behaviour", behaviour.value), "write MAPPING/FILTERING of RFC 4787: EIM, ADM or APDM, then EIF, ADF or APDF, such as EIM/APDF");
                }
                parsed
            }
            _ => {
                self.wrong(
                    whole,
                    "a NAT needs either a `type` or a `behaviour`".into(),
                    "write `type: port-restricted`, or `behaviour: EIM/APDF`",
                );
                None
            }
        }
    }

    fn block(&mut self, size: Option<&Spanned<u32>>) -> Option<u16> {
        let size = size?;
        if !(1..=MOST_PORTS).contains(&size.value) {
            self.wrong(
                size,
                format!(
                    "a block of {} ports is not one that a NAT box has",
                    size.value
                ),
                &format!("give 1 to {MOST_PORTS}"),
            );
        }
        u16::try_from(size.value).ok()
    }

    /// `20s` or `2m`, in seconds.
    fn timeout(&mut self, given: Option<&Spanned<String>>) -> Option<u16> {
        let given = given?;
        let seconds = seconds(&given.value).filter(|s| TIMEOUTS.contains(s));
        if seconds.is_none() {
            let (least, most) = TIMEOUTS.into_inner();
            self.wrong(
                given,
                format!("`{}` is not a UDP timeout", given.value),
                &format!("write {least}s to {most}s, as in `20s` or `2m`"),
            );
        }
        seconds
    }
}

fn seconds(text: &str) -> Option<u16> {
    let number = |unit| text.strip_suffix(unit)?.trim().parse::<u16>().ok();
    number('s').or_else(|| number('m')?.checked_mul(60))
}

#[cfg(test)]
mod tests {
    use crate::inventory::read_nat;
    use crate::nat::{Inbound, Udp};

    fn wrong(text: &str) -> Vec<(String, String)> {
        let problems = read_nat(text).unwrap_err();
        let told = problems.all.iter();
        told.map(|p| (p.message.clone(), p.help().to_owned()))
            .collect()
    }

    #[test]
    fn a_nat_is_a_word_a_behaviour_or_all_of_it() {
        assert_eq!(
            read_nat("symmetric").unwrap().behaviour.to_string(),
            "APDM/APDF"
        );
        assert_eq!(
            read_nat("ADM/EIF").unwrap().behaviour.to_string(),
            "ADM/EIF"
        );
        let all = read_nat(
            "{ type: port-restricted, port_preservation: false, udp_timeout: 2m, \
             cgnat: { behaviour: ADM/EIF, port_block: 64, hairpin: true } }",
        )
        .unwrap();
        assert_eq!(all.effective().to_string(), "ADM/APDF");
        assert_eq!(
            (all.udp_timeout, all.cgnat.unwrap().port_block),
            (Some(120), 64)
        );
        let knobs = read_nat("{ type: port-restricted, inbound: creates-state }").unwrap();
        assert_eq!(knobs.inbound, Inbound::CreatesState);
        assert_eq!(
            read_nat("{ type: symmetric, udp: blocked }").unwrap().udp,
            Udp::Blocked
        );
        assert!(
            !read_nat("{ type: full-cone, port_block: 64 }")
                .unwrap()
                .port_preservation
        );
        assert_eq!(
            read_nat("{ type: full-cone, cgnat: {} }")
                .unwrap()
                .cgnat
                .unwrap()
                .port_block,
            2048
        );
    }

    #[test]
    fn contradictions_are_told_with_a_remedy() {
        for (text, message, remedy) in [
            (
                "{ type: symmetric, port_preservation: true }",
                "cannot preserve ports",
                "leave out",
            ),
            (
                "{ type: full-cone, port_preservation: true, port_block: 64 }",
                "out of a block",
                "without `port_block`",
            ),
            (
                "{ type: symmetric, inbound: creates-state }",
                "this one does not",
                "endpoint-independent",
            ),
            (
                "{ type: full-cone, hairpin: true, cgnat: {} }",
                "turns round",
                "into `cgnat`",
            ),
            (
                "{ type: full-cone, udp: blocked, udp_timeout: 20s }",
                "nothing else can be said",
                "leave out",
            ),
            (
                "{ type: full-cone, udp_timeout: 1s }",
                "`1s` is not a UDP timeout",
                "5s to 3600s",
            ),
            (
                "{ type: full-cone, udp: off }",
                "`off` is not a setting of UDP",
                "open, blocked",
            ),
            (
                "{ type: full-cone, port_block: 70000 }",
                "70000 ports",
                "1 to 16384",
            ),
            (
                "{ hairpin: true }",
                "either a `type` or a `behaviour`",
                "type: port-restricted",
            ),
            ("symetric", "`symetric` is not a NAT type", "`symmetric`"),
            ("ADM/EIX", "`ADM/EIX` is not a NAT behaviour", "EIM/APDF"),
        ] {
            let told = wrong(text);
            assert!(told[0].0.contains(message), "{text}: {told:?}");
            assert!(told[0].1.contains(remedy), "{text}: {told:?}");
        }
    }
}
