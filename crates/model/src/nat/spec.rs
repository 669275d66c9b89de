//! What a NAT box is asked to be.

use serde::{Deserialize, Serialize};

use super::theory::End;
use super::{Behaviour, Filtering, Mapping};

/// A NAT as the inventory asks for it: the box in front of a node's testers, and
/// perhaps a carrier's in front of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatSpec {
    /// Of the box itself; [`NatSpec::effective`] is what the outside sees.
    pub behaviour: Behaviour,
    /// Whether the outer port is the inner one. Only with endpoint-independent mapping.
    #[serde(default)]
    pub port_preservation: bool,
    /// Most outer ports that one inner host has at a time; `None` is no limit.
    #[serde(default)]
    pub port_block: Option<u16>,
    /// Whether inner hosts reach each other at their outer addresses.
    #[serde(default)]
    pub hairpin: bool,
    /// Seconds of silence after which a UDP mapping is gone; `None` is the kernel's.
    #[serde(default)]
    pub udp_timeout: Option<u16>,
    #[serde(default)]
    pub udp: Udp,
    #[serde(default)]
    pub inbound: Inbound,
    /// A carrier's NAT between the box and the internet.
    #[serde(default)]
    pub cgnat: Option<Cgnat>,
}

/// A carrier-grade NAT (RFC 6888): it never keeps ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgnat {
    pub behaviour: Behaviour,
    /// Most outer ports that one subscriber has at a time.
    pub port_block: u16,
    pub hairpin: bool,
    pub udp_timeout: Option<u16>,
}

impl Cgnat {
    /// Ports of a subscriber where the inventory says nothing.
    pub const PORT_BLOCK: u16 = 2048;
}

/// Whether UDP passes at all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Udp {
    #[default]
    Open,
    Blocked,
}

/// What a router does with a datagram that no mapping lets in.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Inbound {
    /// Drops it and forgets it.
    #[default]
    Dropped,
    /// Takes it for its own: what is sent to that sender later leaves by another port.
    CreatesState,
}

impl Udp {
    /// What goes without saying.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

impl Inbound {
    /// What goes without saying.
    pub fn is_dropped(&self) -> bool {
        *self == Self::Dropped
    }
}

impl From<Behaviour> for NatSpec {
    /// The plain NAT of this behaviour.
    fn from(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            port_preservation: behaviour.mapping == Mapping::Eim,
            port_block: None,
            hairpin: false,
            udp_timeout: None,
            udp: Udp::Open,
            inbound: Inbound::Dropped,
            cgnat: None,
        }
    }
}

impl NatSpec {
    /// What both NATs in a row are to the outside: a mapping that depends on as
    /// much as the more particular one's, a filter that lets in what both let in.
    pub fn effective(&self) -> Behaviour {
        let Some(carrier) = self.cgnat else {
            return self.behaviour;
        };
        Behaviour {
            mapping: self.behaviour.mapping.max(carrier.behaviour.mapping),
            filtering: self.behaviour.filtering.max(carrier.behaviour.filtering),
        }
    }

    /// As theory sees it.
    pub fn end(&self) -> End {
        match self.udp {
            Udp::Blocked => End::NoUdp,
            Udp::Open => End::Nat {
                behaviour: self.effective(),
                inbound: self.inbound,
            },
        }
    }

    pub fn keeps_ports(&self) -> bool {
        self.port_preservation && self.cgnat.is_none()
    }

    /// Whether a datagram to one's own outer address is to come back. A carrier's
    /// hairpin comes back to the box as a stranger's.
    pub fn hairpins(&self) -> bool {
        match self.cgnat {
            None => self.hairpin,
            Some(carrier) => carrier.hairpin && self.behaviour.filtering == Filtering::Eif,
        }
    }

    /// The shorter of the configured timeouts, in seconds.
    pub fn shortest_timeout(&self) -> Option<u16> {
        let carrier = self.cgnat.and_then(|carrier| carrier.udp_timeout);
        self.udp_timeout.into_iter().chain(carrier).min()
    }
}

/// `Symmetric (APDM/APDF)`, `Port Restricted (EIM/APDF), hairpin, UDP timeout 20 s`.
impl std::fmt::Display for NatSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = vec![super::describe(self.behaviour)];
        let plain = Self::from(self.behaviour);
        if self.port_preservation != plain.port_preservation {
            words.push("ports not preserved".into());
        }
        words.extend(
            self.port_block
                .map(|ports| format!("blocks of {ports} ports")),
        );
        words.extend(self.hairpin.then(|| "hairpin".to_owned()));
        words.extend(self.udp_timeout.map(|s| format!("UDP timeout {s} s")));
        words.extend((self.udp == Udp::Blocked).then(|| "UDP blocked".to_owned()));
        words.extend(
            (self.inbound == Inbound::CreatesState).then(|| "inbound creates state".to_owned()),
        );
        words.extend(self.cgnat.map(|carrier| {
            let behaviour = carrier.behaviour;
            format!(
                "behind a CGNAT ({behaviour}, blocks of {} ports)",
                carrier.port_block
            )
        }));
        f.pad(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(own: &str, carrier: &str) -> NatSpec {
        NatSpec {
            cgnat: Some(Cgnat {
                behaviour: carrier.parse().unwrap(),
                port_block: Cgnat::PORT_BLOCK,
                hairpin: true,
                udp_timeout: Some(30),
            }),
            ..NatSpec::from(own.parse::<Behaviour>().unwrap())
        }
    }

    #[test]
    fn two_nats_in_a_row_are_the_stricter_of_both() {
        for (own, carrier, both) in [
            ("EIM/APDF", "EIM/EIF", "EIM/APDF"),
            ("EIM/EIF", "APDM/ADF", "APDM/ADF"),
            ("ADM/EIF", "EIM/APDF", "ADM/APDF"),
        ] {
            assert_eq!(behind(own, carrier).effective().to_string(), both);
        }
    }

    #[test]
    fn a_carriers_hairpin_meets_the_boxs_own_filter() {
        assert!(behind("EIM/EIF", "EIM/EIF").hairpins());
        assert!(!behind("EIM/ADF", "EIM/EIF").hairpins());
        assert!(!behind("EIM/EIF", "EIM/EIF").keeps_ports());
        assert_eq!(behind("EIM/EIF", "EIM/EIF").shortest_timeout(), Some(30));
    }

    #[test]
    fn a_spec_is_told_in_a_line() {
        let plain = NatSpec::from(Behaviour::SYMMETRIC);
        assert_eq!(plain.to_string(), "Symmetric (APDM/APDF)");
        let odd = NatSpec {
            hairpin: true,
            port_preservation: false,
            udp_timeout: Some(20),
            ..behind("EIM/APDF", "EIM/EIF")
        };
        assert_eq!(
            odd.to_string(),
            "Port Restricted (EIM/APDF), ports not preserved, hairpin, UDP timeout 20 s, \
             behind a CGNAT (EIM/EIF, blocks of 2048 ports)"
        );
    }
}
