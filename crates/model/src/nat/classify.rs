//! From what a prober saw to what the NAT is.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    Behaviour, Filtering, FilteringProbe, Inbound, Mapping, NatSpec, Observations, Silence, Udp,
    properties,
};

/// What a NAT was measured to be. Not measured is a value of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub front: Front,
    pub mapping: Option<Mapping>,
    pub filtering: Option<Filtering>,
    /// Whether the outer port is the inner one.
    pub port_preservation: Option<bool>,
    pub hairpin: Option<bool>,
    /// `None` where no silence was kept.
    #[serde(default)]
    pub udp_timeout: Option<Lifetime>,
    /// What becomes of a datagram that is filtered; `None` where that does not show.
    #[serde(default)]
    pub inbound: Option<Inbound>,
    /// One reflector only: address-dependence could not be told apart.
    pub partial: bool,
    /// The probes that show it, a sentence each, with addresses.
    pub evidence: Vec<String>,
}

/// What stands in front of the prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Front {
    /// Its own address is the one that others see, and nothing is filtered.
    Nothing,
    /// Its own address, but not everybody may send to it.
    Firewall,
    Nat,
    /// No UDP came back at all.
    UdpBlocked,
}

/// Between which silences a mapping went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// The longest silence that it survived.
    pub survived_ms: u64,
    /// The shortest that it did not; `None`: it survived all.
    pub gone_ms: Option<u64>,
}

/// What the probes show, and no more.
pub fn classify(seen: &Observations) -> Certificate {
    let answers: Vec<_> = seen
        .mapping
        .seen_by
        .iter()
        .filter_map(|(by, at)| Some((*by, (*at)?)))
        .collect();
    let local = seen.mapping.local;
    let translated = answers.iter().any(|(_, at)| at.ip() != local.ip());
    let mapping = mapping(&answers);
    let filtering = filtering(&seen.filtering);
    let front = match (answers.is_empty(), translated, filtering) {
        (true, _, _) => Front::UdpBlocked,
        (_, true, _) => Front::Nat,
        (_, false, None | Some(Filtering::Eif)) => Front::Nothing,
        (_, false, Some(_)) => Front::Firewall,
    };
    let mut certificate = Certificate {
        front,
        mapping,
        filtering,
        port_preservation: answers
            .first()
            .map(|_| answers.iter().all(|(_, at)| at.port() == local.port())),
        hairpin: seen.hairpin,
        udp_timeout: lifetime(&seen.silences),
        inbound: inbound(mapping, &seen.filtering),
        partial: seen.mapping.seen_by.len() < 3 || seen.filtering.from_other_address.is_none(),
        evidence: Vec::new(),
    };
    let shown = properties(seen, &certificate);
    certificate.evidence = shown.into_iter().flat_map(|p| p.shown_by).collect();
    certificate
}

/// Answers come in the order A, A', B.
fn mapping(answers: &[(SocketAddr, SocketAddr)]) -> Option<Mapping> {
    let first = answers.first()?;
    let same_host = answers
        .iter()
        .find(|(by, _)| by.ip() == first.0.ip() && by.port() != first.0.port());
    let other_host = answers.iter().find(|(by, _)| by.ip() != first.0.ip());
    match (same_host, other_host) {
        (Some((_, at)), _) if *at != first.1 => Some(Mapping::Apdm),
        (Some(_), Some((_, at))) if *at != first.1 => Some(Mapping::Adm),
        (Some(_), Some(_)) => Some(Mapping::Eim),
        _ => None,
    }
}

fn filtering(probe: &FilteringProbe) -> Option<Filtering> {
    if !probe.from_contacted {
        return None;
    }
    match (probe.from_other_address?, probe.from_other_port) {
        (true, _) => Some(Filtering::Eif),
        (false, true) => Some(Filtering::Adf),
        (false, false) => Some(Filtering::Apdf),
    }
}

/// Only where a mapping would stay as it is does it show that it did not.
fn inbound(mapping: Option<Mapping>, probe: &FilteringProbe) -> Option<Inbound> {
    let filtered = probe.from_other_address == Some(false);
    let (before, after) = (probe.mapped?, probe.seen_after_inbound?);
    (mapping == Some(Mapping::Eim) && filtered).then_some(if before == after {
        Inbound::Dropped
    } else {
        Inbound::CreatesState
    })
}

fn lifetime(silences: &[Silence]) -> Option<Lifetime> {
    let gone = silences.iter().filter(|s| !s.came_through);
    let gone_ms = gone.map(|s| s.milliseconds).min();
    let survived = silences
        .iter()
        .filter(|s| s.came_through && gone_ms.is_none_or(|gone| s.milliseconds < gone));
    (!silences.is_empty()).then(|| Lifetime {
        survived_ms: survived.map(|s| s.milliseconds).max().unwrap_or(0),
        gone_ms,
    })
}

impl Lifetime {
    /// Whether a timeout of so many seconds lies between.
    pub fn allows(self, seconds: u16) -> bool {
        let wanted = u64::from(seconds) * 1000;
        self.survived_ms <= wanted && self.gone_ms.is_none_or(|gone| wanted <= gone)
    }
}

/// `18 to 22 s`, `over 120 s`, `under 5 s`.
impl std::fmt::Display for Lifetime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let survived = seconds(self.survived_ms);
        match self.gone_ms.map(seconds) {
            None => write!(f, "over {survived} s"),
            Some(gone) if self.survived_ms == 0 => write!(f, "under {gone} s"),
            Some(gone) => write!(f, "{survived} to {gone} s"),
        }
    }
}

impl Certificate {
    /// Mapping and filtering, where both were measured.
    pub fn behaviour(&self) -> Option<Behaviour> {
        Some(Behaviour {
            mapping: self.mapping?,
            filtering: self.filtering?,
        })
    }

    /// `Full Cone (EIM/EIF)`, `none`, `no UDP`, `not measured`.
    pub fn describe(&self) -> String {
        match (self.front, self.behaviour()) {
            (Front::UdpBlocked, _) => "no UDP gets through".into(),
            (Front::Nothing, _) => "none".into(),
            (Front::Firewall, _) => "a firewall without translation".into(),
            (Front::Nat, Some(behaviour)) => describe(behaviour),
            (Front::Nat, None) => "a NAT, not fully measured".into(),
        }
    }

    /// Whether it is what stands before a node with this NAT in IPv6: a stateful
    /// firewall that translates nothing, or one that lets no UDP through at all.
    ///
    /// # Errors
    /// A sentence with the measurement.
    pub fn check_firewall(&self, udp: Udp) -> Result<(), String> {
        if udp == Udp::Blocked {
            return match self.front {
                Front::UdpBlocked => Ok(()),
                _ => Err(format!(
                    "labelled UDP blocked in IPv6, measured as {}",
                    self.describe()
                )),
            };
        }
        let wanted = Behaviour::FIREWALL;
        let is_filtered = self.filtering == Some(wanted.filtering);
        if self.front == Front::Firewall && is_filtered && self.port_preservation == Some(true) {
            return Ok(());
        }
        Err(format!(
            "labelled a stateful IPv6 firewall, measured as {}",
            self.describe()
        ))
    }

    /// Whether it is what it was asked to be.
    ///
    /// # Errors
    /// A sentence with the label and the measurement.
    pub fn check(&self, label: NatSpec) -> Result<(), String> {
        if (label.udp == Udp::Blocked) != (self.front == Front::UdpBlocked) {
            let wanted = match label.udp {
                Udp::Blocked => "UDP blocked".into(),
                Udp::Open => describe(label.effective()),
            };
            return Err(format!("labelled {wanted}, measured {}", self.describe()));
        }
        if label.udp == Udp::Blocked {
            return Ok(());
        }
        if !self.behaves_as(label.effective()) {
            let wanted = describe(label.effective());
            return Err(format!("labelled {wanted}, measured {}", self.describe()));
        }
        let wrong = self.otherwise(label);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{}, but {}", self.describe(), wrong.join("; ")))
        }
    }

    fn behaves_as(&self, wanted: Behaviour) -> bool {
        let front = self.front == Front::Nat;
        front
            && match self.behaviour() {
                Some(measured) => measured == wanted,
                // From one public address not everything can be told apart.
                None => {
                    self.partial
                        && self.mapping.is_none_or(|mapping| mapping == wanted.mapping)
                        && self.filtering.is_none_or(|f| f == wanted.filtering)
                }
            }
    }

    /// What besides mapping and filtering is not as asked.
    fn otherwise(&self, label: NatSpec) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut compare = |what: &str, measured: Option<bool>, wanted: bool| {
            let word = |is: bool| if is { "yes" } else { "no" };
            if let Some(is) = measured.filter(|is| *is != wanted) {
                let (wanted, is) = (word(wanted), word(is));
                wrong.push(format!("{what} labelled {wanted}, measured {is}"));
            }
        };
        compare(
            "port preservation",
            self.port_preservation,
            label.keeps_ports(),
        );
        compare("hairpin", self.hairpin, label.hairpins());
        let creates = |inbound| inbound == Inbound::CreatesState;
        compare(
            "state by inbound",
            self.inbound.map(creates),
            creates(label.inbound),
        );
        if let (Some(measured), Some(wanted)) = (self.udp_timeout, label.shortest_timeout())
            && !measured.allows(wanted)
        {
            wrong.push(format!(
                "UDP timeout labelled {wanted} s, measured {measured}"
            ));
        }
        wrong
    }
}

/// `Full Cone (EIM/EIF)`, or `ADM/EIF` where there is no older name.
pub fn describe(behaviour: Behaviour) -> String {
    match behaviour.classic_name() {
        Some(name) => format!("{name} ({behaviour})"),
        None => behaviour.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::MappingProbe;
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn seen(outer: [&str; 3], other_port: bool, other_address: bool) -> Observations {
        let reflectors = ["9.0.0.1:1", "9.0.0.1:2", "9.0.0.2:1"];
        Observations {
            mapping: MappingProbe {
                local: at("10.0.0.2:500"),
                seen_by: reflectors
                    .iter()
                    .zip(outer)
                    .map(|(by, o)| (at(by), Some(at(o))))
                    .collect(),
            },
            filtering: FilteringProbe {
                local: at("10.0.0.2:501"),
                mapped: Some(at("1.0.0.1:501")),
                from_contacted: true,
                from_other_port: other_port,
                from_other_address: Some(other_address),
                seen_after_inbound: None,
            },
            hairpin: None,
            silences: Vec::new(),
        }
    }

    #[test]
    fn the_four_classic_types() {
        let cone = ["1.0.0.1:500"; 3];
        let changing = ["1.0.0.1:7", "1.0.0.1:8", "1.0.0.1:9"];
        let cases = [
            (seen(cone, true, true), Behaviour::FULL_CONE),
            (seen(cone, true, false), Behaviour::ADDRESS_RESTRICTED),
            (seen(cone, false, false), Behaviour::PORT_RESTRICTED),
            (seen(changing, false, false), Behaviour::SYMMETRIC),
        ];
        for (observations, expected) in cases {
            let certificate = classify(&observations);
            assert_eq!(certificate.behaviour(), Some(expected));
            assert_eq!(certificate.check(expected.into()), Ok(()));
        }
    }

    #[test]
    fn a_mismatch_shows_both() {
        let certificate = classify(&seen(["1.0.0.1:500"; 3], false, false));
        let error = certificate.check(Behaviour::FULL_CONE.into()).unwrap_err();
        assert_eq!(
            error,
            "labelled Full Cone (EIM/EIF), measured Port Restricted (EIM/APDF)"
        );
    }

    #[test]
    fn a_firewall_keeps_address_and_port_and_filters() {
        let own = ["10.0.0.2:500"; 3];
        let stateful = classify(&seen(own, false, false));
        assert_eq!(stateful.check_firewall(Udp::Open), Ok(()));
        let open = classify(&seen(own, true, true));
        assert_eq!(
            open.check_firewall(Udp::Open).unwrap_err(),
            "labelled a stateful IPv6 firewall, measured as none"
        );
        let by_host = classify(&seen(own, true, false));
        let translated = classify(&seen(["1.0.0.1:500"; 3], false, false));
        for wrong in [by_host, translated] {
            assert!(wrong.check_firewall(Udp::Open).is_err(), "{wrong:?}");
        }
        assert!(stateful.check_firewall(Udp::Blocked).is_err());
    }

    #[test]
    fn one_reflector_makes_a_partial_certificate() {
        let mut observations = seen(["1.0.0.1:500"; 3], true, true);
        observations.mapping.seen_by.truncate(2);
        observations.filtering.from_other_address = None;
        let certificate = classify(&observations);
        assert!(certificate.partial);
        assert_eq!(certificate.behaviour(), None);
    }

    #[test]
    fn silence_is_not_a_nat_type() {
        let mut observations = seen(["1.0.0.1:500"; 3], false, false);
        for (_, at) in &mut observations.mapping.seen_by {
            *at = None;
        }
        observations.filtering.from_contacted = false;
        assert_eq!(classify(&observations).front, Front::UdpBlocked);
    }

    #[test]
    fn what_is_asked_for_besides_is_checked_besides() {
        let label = NatSpec {
            hairpin: true,
            udp_timeout: Some(20),
            ..NatSpec::from(Behaviour::PORT_RESTRICTED)
        };
        let mut observations = seen(["1.0.0.1:500"; 3], false, false);
        observations.hairpin = Some(true);
        let keep = |milliseconds, came_through| Silence {
            milliseconds,
            came_through,
        };
        observations.silences = vec![keep(18_000, true), keep(22_000, false)];
        observations.filtering.seen_after_inbound = Some(at("1.0.0.1:501"));
        assert_eq!(classify(&observations).check(label), Ok(()));

        observations.hairpin = Some(false);
        observations.silences = vec![keep(18_000, false), keep(22_000, false)];
        observations.filtering.seen_after_inbound = Some(at("1.0.0.1:777"));
        assert_eq!(
            classify(&observations).check(label).unwrap_err(),
            "Port Restricted (EIM/APDF), but hairpin labelled yes, measured no; \
             state by inbound labelled no, measured yes; \
             UDP timeout labelled 20 s, measured under 18 s"
        );
    }

    #[test]
    fn a_label_without_udp_wants_silence() {
        let label = NatSpec {
            udp: Udp::Blocked,
            ..NatSpec::from(Behaviour::FULL_CONE)
        };
        let open = seen(["1.0.0.1:500"; 3], true, true);
        assert_eq!(
            classify(&open).check(label).unwrap_err(),
            "labelled UDP blocked, measured Full Cone (EIM/EIF)"
        );
        let mut silent = open;
        for (_, at) in &mut silent.mapping.seen_by {
            *at = None;
        }
        silent.filtering.from_contacted = false;
        assert_eq!(classify(&silent).check(label), Ok(()));
        assert!(
            classify(&silent)
                .check(Behaviour::FULL_CONE.into())
                .is_err()
        );
    }
}
