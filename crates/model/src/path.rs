//! Which path the payload took, from byte counters alone.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};

use crate::attempt::{Endpoints, Observed, ObservedPath};
use crate::flow::FlowCount;

/// The share of the payload that a path must have carried to be the path.
const SHARE: f64 = 0.9;

/// Judges one attempt.
///
/// Ports are fresh in every attempt, so a flow belongs to it when one end is an
/// endpoint of one side and the other end is at least the other side's host: a
/// NAT with address-dependent mapping shows a port that nobody could announce.
pub fn observe(flows: &[FlowCount], endpoints: &Endpoints, payload_bytes: u64) -> Observed {
    let caller = Side::new(&endpoints.caller);
    let callee = Side::new(&endpoints.callee);
    let enough = |bytes: u64| bytes as f64 >= SHARE * payload_bytes as f64;

    let (forth, back) = (
        between(flows, &caller, &callee),
        between(flows, &callee, &caller),
    );
    if enough(forth) && enough(back) {
        return Observed {
            path: ObservedPath::Direct,
            via: None,
            forth_bytes: forth,
            back_bytes: back,
            ..Observed::UNMEASURED
        };
    }
    let relayed = third_parties(flows, &caller, &callee)
        .into_iter()
        .map(|relay| {
            let forth = caller_leg(flows, &caller, relay).min(callee_leg(flows, relay, &callee));
            let back = caller_leg(flows, &callee, relay).min(callee_leg(flows, relay, &caller));
            (relay, forth, back)
        });
    match relayed.max_by_key(|(_, forth, back)| *forth.min(back)) {
        Some((relay, forth, back)) if enough(forth) && enough(back) => Observed {
            path: ObservedPath::Relayed,
            via: Some(relay),
            forth_bytes: forth,
            back_bytes: back,
            ..Observed::UNMEASURED
        },
        _ => Observed {
            path: ObservedPath::None,
            via: None,
            forth_bytes: forth,
            back_bytes: back,
            ..Observed::UNMEASURED
        },
    }
}

struct Side {
    endpoints: HashSet<SocketAddr>,
    hosts: HashSet<IpAddr>,
}

impl Side {
    fn new(endpoints: &[SocketAddr]) -> Self {
        Self {
            endpoints: endpoints.iter().copied().collect(),
            hosts: endpoints.iter().map(SocketAddr::ip).collect(),
        }
    }

    fn has(&self, endpoint: SocketAddr) -> bool {
        self.endpoints.contains(&endpoint)
    }

    fn is_at(&self, endpoint: SocketAddr) -> bool {
        self.hosts.contains(&endpoint.ip())
    }
}

fn between(flows: &[FlowCount], from: &Side, to: &Side) -> u64 {
    sum(flows, |source, destination| {
        (from.has(source) && to.is_at(destination)) || (from.is_at(source) && to.has(destination))
    })
}

fn caller_leg(flows: &[FlowCount], from: &Side, relay: SocketAddr) -> u64 {
    sum(flows, |source, destination| {
        from.has(source) && destination.ip() == relay.ip()
    })
}

fn callee_leg(flows: &[FlowCount], relay: SocketAddr, to: &Side) -> u64 {
    sum(flows, |source, destination| {
        source.ip() == relay.ip() && to.has(destination)
    })
}

fn sum(flows: &[FlowCount], belongs: impl Fn(SocketAddr, SocketAddr) -> bool) -> u64 {
    flows
        .iter()
        .filter(|f| belongs(f.flow.source, f.flow.destination))
        .map(FlowCount::bytes)
        .sum()
}

/// Hosts that exchanged anything with both sides.
fn third_parties(flows: &[FlowCount], caller: &Side, callee: &Side) -> Vec<SocketAddr> {
    let contacts = |side: &Side| -> BTreeSet<IpAddr> {
        flows
            .iter()
            .filter(|f| side.has(f.flow.source))
            .map(|f| f.flow.destination.ip())
            .collect()
    };
    let shared = &contacts(caller) & &contacts(callee);
    shared
        .into_iter()
        .filter_map(|host| {
            flows
                .iter()
                .filter(|f| f.flow.destination.ip() == host && f.flow.destination.port() != 0)
                .max_by_key(|f| (f.bytes(), f.flow.destination))
                .map(|f| f.flow.destination)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowKey, Tally};
    use crate::inventory::Transport;

    const PAYLOAD: u64 = 1000;

    fn flow(source: &str, destination: &str, bytes: u64) -> FlowCount {
        let flow = FlowKey {
            transport: Transport::Udp,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        };
        let arrived = Tally {
            packets: 1,
            bytes,
            ..Tally::default()
        };
        FlowCount {
            flow,
            left: None,
            arrived: Some(arrived),
        }
    }

    fn ends(caller: &[&str], callee: &[&str]) -> Endpoints {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        Endpoints {
            caller: parse(caller),
            callee: parse(callee),
        }
    }

    #[test]
    fn bytes_between_the_two_are_direct() {
        let flows = [
            flow("1.0.0.1:10", "2.0.0.1:20", 1100),
            flow("2.0.0.1:20", "1.0.0.1:10", 1100),
        ];
        let seen = observe(&flows, &ends(&["1.0.0.1:10"], &["2.0.0.1:20"]), PAYLOAD);
        assert_eq!(seen.path, ObservedPath::Direct);
    }

    #[test]
    fn a_port_nobody_announced_still_counts_when_the_other_end_is_known() {
        let flows = [
            flow("1.0.0.1:777", "2.0.0.1:20", 1100),
            flow("2.0.0.1:20", "1.0.0.1:777", 1100),
        ];
        let seen = observe(&flows, &ends(&["1.0.0.1:10"], &["2.0.0.1:20"]), PAYLOAD);
        assert_eq!(seen.path, ObservedPath::Direct);
    }

    #[test]
    fn both_legs_of_a_third_party_are_a_relay() {
        let flows = [
            flow("1.0.0.1:10", "9.0.0.9:9000", 1100),
            flow("9.0.0.9:9000", "2.0.0.1:20", 1200),
            flow("2.0.0.1:20", "9.0.0.9:9000", 1100),
            flow("9.0.0.9:9000", "1.0.0.1:10", 1100),
        ];
        let seen = observe(&flows, &ends(&["1.0.0.1:10"], &["2.0.0.1:20"]), PAYLOAD);
        assert_eq!(
            (seen.path, seen.via.map(|v| v.ip().to_string())),
            (ObservedPath::Relayed, Some("9.0.0.9".into()))
        );
    }

    #[test]
    fn one_leg_is_no_path() {
        let flows = [
            flow("1.0.0.1:10", "9.0.0.9:9000", 5000),
            flow("2.0.0.1:20", "9.0.0.9:9000", 50),
        ];
        let seen = observe(&flows, &ends(&["1.0.0.1:10"], &["2.0.0.1:20"]), PAYLOAD);
        assert_eq!(seen.path, ObservedPath::None);
    }

    #[test]
    fn handshakes_alone_are_no_path() {
        let flows = [
            flow("1.0.0.1:10", "2.0.0.1:20", 300),
            flow("2.0.0.1:20", "1.0.0.1:10", 300),
        ];
        let seen = observe(&flows, &ends(&["1.0.0.1:10"], &["2.0.0.1:20"]), PAYLOAD);
        assert_eq!(seen.path, ObservedPath::None);
    }
}
