//! Bytes by flow: found by either end, and never more than so many.

use std::collections::HashMap;
use std::net::SocketAddr;

use model::flow::{FlowCount, FlowKey};
use model::inventory::Transport;

/// Flows that are kept; a quarter of a gigabyte at most.
const MOST: usize = 1 << 20;

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
    counts: HashMap<FlowKey, (u64, u64)>,
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

    pub fn add(&mut self, flow: FlowKey, packets: u64, bytes: u64) {
        if let Some(count) = self.young.counts.get_mut(&flow) {
            count.0 += packets;
            count.1 += bytes;
            return;
        }
        if self.young.counts.len() >= self.most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let (before, bytes_before) = self.old.counts.remove(&flow).unwrap_or_default();
        self.young
            .insert(flow, (before + packets, bytes_before + bytes));
    }

    /// Flows that start or end at one of these; all of them for an empty list.
    pub fn touching(&self, ends: &[SocketAddr]) -> Vec<FlowCount> {
        let ages = [&self.young, &self.old];
        let mut found: Vec<FlowCount> = if ends.is_empty() {
            ages.iter().flat_map(|age| age.all()).collect()
        } else {
            ages.iter().flat_map(|age| age.touching(ends)).collect()
        };
        found.sort_by_key(|f| {
            let is_tcp = f.flow.transport == Transport::Tcp;
            (f.flow.source, f.flow.destination, is_tcp)
        });
        // Both ends of a flow may have been asked for.
        found.dedup_by_key(|f| f.flow);
        found
    }
}

impl Age {
    fn insert(&mut self, flow: FlowKey, count: (u64, u64)) {
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

fn counted(flow: FlowKey, (packets, bytes): (u64, u64)) -> FlowCount {
    FlowCount {
        flow,
        packets,
        bytes,
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn flow(from: u16, to: u16) -> FlowKey {
        let end = |port| SocketAddr::from(([198, 18, 1, 10], port));
        FlowKey {
            transport: Transport::Udp,
            source: end(from),
            destination: end(to),
        }
    }

    #[test]
    fn a_flow_is_found_by_either_end_and_once() {
        let mut flows = Flows::default();
        flows.add(flow(1, 2), 1, 100);
        flows.add(flow(1, 2), 1, 50);
        flows.add(flow(3, 4), 1, 7);
        for ask in [vec![1], vec![2], vec![1, 2]] {
            let ends: Vec<_> = ask.iter().map(|port| flow(*port, 0).source).collect();
            let found = flows.touching(&ends);
            assert_eq!(found.len(), 1, "{ask:?}");
            assert_eq!((found[0].packets, found[0].bytes), (2, 150));
        }
        assert_eq!(flows.touching(&[]).len(), 2);
        assert!(flows.touching(&[flow(9, 0).source]).is_empty());
    }

    #[test]
    fn what_was_not_seen_for_long_is_forgotten_and_what_goes_on_is_not() {
        let mut flows = Flows::with_room_for(20);
        for port in 0..1000 {
            flows.add(flow(port, 5000), 1, 10);
            flows.add(flow(7777, 5000), 1, 10);
        }
        let goes_on = flows.touching(&[flow(7777, 0).source]);
        assert_eq!(goes_on[0].bytes, 10_000, "nothing of it was lost");
        assert!(flows.touching(&[]).len() <= 20);
        assert!(flows.touching(&[flow(3, 0).source]).is_empty());
        let ends = flows.young.by_end.len() + flows.old.by_end.len();
        assert!(ends <= 44, "{ends}");
    }
}
