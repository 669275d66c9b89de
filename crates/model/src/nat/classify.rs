//! From what a prober saw to what the NAT is.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Behaviour, Filtering, FilteringProbe, Mapping, MappingProbe, NatSpec, Observations};

/// What a NAT was measured to be. Not measured is a value of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub front: Front,
    pub mapping: Option<Mapping>,
    pub filtering: Option<Filtering>,
    /// Whether the outer port is the inner one.
    pub port_preservation: Option<bool>,
    pub hairpin: Option<bool>,
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
    let filtering = filtering(&seen.filtering);
    let front = match (answers.is_empty(), translated, filtering) {
        (true, _, _) => Front::UdpBlocked,
        (_, true, _) => Front::Nat,
        (_, false, None | Some(Filtering::Eif)) => Front::Nothing,
        (_, false, Some(_)) => Front::Firewall,
    };
    Certificate {
        front,
        mapping: mapping(&answers),
        filtering,
        port_preservation: answers
            .first()
            .map(|_| answers.iter().all(|(_, at)| at.port() == local.port())),
        hairpin: seen.hairpin,
        partial: seen.mapping.seen_by.len() < 3 || seen.filtering.from_other_address.is_none(),
        evidence: evidence(&seen.mapping, &seen.filtering),
    }
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

fn evidence(mapping: &MappingProbe, filtering: &FilteringProbe) -> Vec<String> {
    let mut sentences: Vec<String> = mapping
        .seen_by
        .iter()
        .map(|(by, at)| match at {
            Some(at) => format!("{by} saw {} as {at}", mapping.local),
            None => format!("{by} did not answer {}", mapping.local),
        })
        .collect();
    let Some(mapped) = filtering.mapped else {
        return sentences;
    };
    let passed = |came: bool| if came { "came through" } else { "was filtered" };
    sentences.push(format!(
        "after {mapped} had sent to one port of one host, a datagram from its other port {}",
        passed(filtering.from_other_port)
    ));
    if let Some(came) = filtering.from_other_address {
        sentences.push(format!("and one from another host {}", passed(came)));
    }
    sentences
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

    /// Whether it is a stateful firewall that translates nothing.
    ///
    /// # Errors
    /// A sentence with the measurement.
    pub fn check_firewall(&self) -> Result<(), String> {
        if self.front == Front::Firewall && !self.contradicts(Behaviour::FIREWALL) {
            return Ok(());
        }
        Err(format!(
            "labelled a stateful IPv6 firewall, measured as {}",
            self.describe()
        ))
    }

    fn contradicts(&self, wanted: Behaviour) -> bool {
        self.mapping
            .is_some_and(|mapping| mapping != wanted.mapping)
            || self
                .filtering
                .is_some_and(|filtering| filtering != wanted.filtering)
    }

    /// Whether it is what it was asked to be.
    ///
    /// # Errors
    /// A sentence with the label and the measurement.
    pub fn check(&self, label: NatSpec) -> Result<(), String> {
        let wanted = label.behaviour;
        let is_as_labelled = self.front == Front::Nat
            && match self.behaviour() {
                Some(measured) => measured == wanted,
                // From one public address not everything can be told apart.
                None => self.partial && !self.contradicts(wanted),
            };
        if is_as_labelled {
            return Ok(());
        }
        Err(format!(
            "labelled {}, measured {}",
            describe(label.behaviour),
            self.describe()
        ))
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
            },
            hairpin: None,
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
            assert_eq!(
                certificate.check(NatSpec {
                    behaviour: expected
                }),
                Ok(())
            );
        }
    }

    #[test]
    fn a_mismatch_shows_both() {
        let certificate = classify(&seen(["1.0.0.1:500"; 3], false, false));
        let error = certificate
            .check(NatSpec {
                behaviour: Behaviour::FULL_CONE,
            })
            .unwrap_err();
        assert_eq!(
            error,
            "labelled Full Cone (EIM/EIF), measured Port Restricted (EIM/APDF)"
        );
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
}
