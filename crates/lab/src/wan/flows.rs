//! Bytes by flow: found by either end, and never more than so many.

use std::collections::HashMap;
use std::net::SocketAddr;

use model::flow::{FlowCount, FlowKey, Tally};

/// Flows that are kept; with their index some hundred megabytes at most.
const MOST: usize = 1 << 19;

/// At the two ends of a flow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Both {
    pub left: Tally,
    pub arrived: Tally,
}

/// Two ages of flows: a flow that is seen again becomes young; when half of the
/// room is full of young ones, the old ones are forgotten.
#[derive(Debug)]
pub struct Flows {
    young: Age,
    old: Age,
    most: usize,
}

#[derive(Debug, Default)]
struct Age {
    counts: HashMap<FlowKey, Both>,
    by_end: HashMap<SocketAddr, Vec<FlowKey>>,
}

impl Default for Flows {
    fn default() -> Self {
        Self::with_room_for(MOST)
    }
}

impl Flows {
    fn with_room_for(most: usize) -> Self {
        Self {
            young: Age::default(),
            old: Age::default(),
            most,
        }
    }

    pub fn entry(&mut self, flow: FlowKey) -> &mut Both {
        if !self.young.counts.contains_key(&flow) {
            if self.young.counts.len() >= self.most / 2 {
                self.old = std::mem::take(&mut self.young);
            }
            let before = self.old.counts.remove(&flow).unwrap_or_default();
            self.young.insert(flow, before);
        }
        self.young.counts.entry(flow).or_default()
    }

    /// Flows that start or end at one of these; all of them for an empty list.
    pub fn touching(&self, ends: &[SocketAddr]) -> Vec<FlowCount> {
        let ages = [&self.young, &self.old];
        let mut found: Vec<FlowCount> = if ends.is_empty() {
            ages.iter().flat_map(|age| age.all()).collect()
        } else {
            ages.iter().flat_map(|age| age.touching(ends)).collect()
        };
        found.sort_by_key(|f| f.flow);
        // Both ends of a flow may have been asked for.
        found.dedup_by_key(|f| f.flow);
        found
    }
}

impl Age {
    fn insert(&mut self, flow: FlowKey, count: Both) {
        self.counts.insert(flow, count);
        for end in [flow.source, flow.destination] {
            self.by_end.entry(end).or_default().push(flow);
        }
    }

    fn all(&self) -> impl Iterator<Item = FlowCount> {
        self.counts
            .iter()
            .map(|(flow, count)| counted(*flow, *count))
    }

    fn touching(&self, ends: &[SocketAddr]) -> impl Iterator<Item = FlowCount> {
        let flows = ends.iter().filter_map(|end| self.by_end.get(end)).flatten();
        // One that became young again is still in the index of the old.
        flows.filter_map(|flow| Some(counted(*flow, *self.counts.get(flow)?)))
    }
}

fn counted(flow: FlowKey, both: Both) -> FlowCount {
    FlowCount {
        flow,
        left: Some(both.left),
        arrived: Some(both.arrived),
    }
}

#[cfg(test)]
mod tests {

    use jiff::Timestamp;
    use model::inventory::Transport;

    use super::*;

    fn flow(from: u16, to: u16) -> FlowKey {
        let end = |port| SocketAddr::from(([198, 18, 1, 10], port));
        FlowKey {
            transport: Transport::Udp,
            source: end(from),
            destination: end(to),
        }
    }

    fn add(flows: &mut Flows, flow: FlowKey, bytes: u64) {
        let arrived = &mut flows.entry(flow).arrived;
        arrived.add(1, bytes, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn a_flow_is_found_by_either_end_and_once() {
        let mut flows = Flows::default();
        add(&mut flows, flow(1, 2), 100);
        add(&mut flows, flow(1, 2), 50);
        add(&mut flows, flow(3, 4), 7);
        for ask in [vec![1], vec![2], vec![1, 2]] {
            let ends: Vec<_> = ask.iter().map(|port| flow(*port, 0).source).collect();
            let found = flows.touching(&ends);
            assert_eq!(found.len(), 1, "{ask:?}");
            assert_eq!(
                (found[0].arrived.unwrap().packets, found[0].bytes()),
                (2, 150)
            );
        }
        assert_eq!(flows.touching(&[]).len(), 2);
        assert!(flows.touching(&[flow(9, 0).source]).is_empty());
    }

    #[test]
    fn what_was_not_seen_for_long_is_forgotten_and_what_goes_on_is_not() {
        let mut flows = Flows::with_room_for(20);
        for port in 0..1000 {
            add(&mut flows, flow(port, 5000), 10);
            add(&mut flows, flow(7777, 5000), 10);
        }
        let goes_on = flows.touching(&[flow(7777, 0).source]);
        assert_eq!(goes_on[0].bytes(), 10_000, "nothing of it was lost");
        assert!(flows.touching(&[]).len() <= 20);
        assert!(flows.touching(&[flow(3, 0).source]).is_empty());
        let ends = flows.young.by_end.len() + flows.old.by_end.len();
        assert!(ends <= 44, "{ends}");
    }
}
