//! What was delivered, by flow, and what was not, by reason.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use model::flow::{FlowCount, FlowKey, Tally};
use model::inventory::Transport;

use super::flows::Flows;
use super::lateness::{Histogram, Lateness};
use super::packet::Packet;
use crate::control::WanCounters;

/// Guarded by one lock, taken once a packet.
#[derive(Debug, Default)]
pub struct Counters {
    flows: Flows,
    totals: WanCounters,
    lateness: Histogram,
    left: Fragments,
    arrived: Fragments,
}

impl Counters {
    /// A packet came out of its sender's host, whatever becomes of it.
    pub fn left(&mut self, packet: &Packet) {
        if let Some(flow) = self.left.flow(packet) {
            if flow.transport == Transport::Udp {
                let mut sent = Tally::default();
                sent.add(packet.segments, packet.payload, Timestamp::now());
                self.totals.udp_bytes += sent.bytes_on_wire();
            }
            let now = Timestamp::now();
            let both = self.flows.entry(flow);
            both.left.add(packet.segments, packet.payload, now);
        }
    }

    pub fn delivered(&mut self, packet: &Packet) {
        self.totals.delivered += packet.segments;
        if let Some(flow) = self.arrived.flow(packet) {
            let both = self.flows.entry(flow);
            both.arrived
                .add(packet.segments, packet.payload, Timestamp::now());
        }
    }

    pub fn late(&mut self, by: std::time::Duration) {
        self.lateness.add(by);
    }

    pub fn totals_mut(&mut self) -> &mut WanCounters {
        &mut self.totals
    }

    pub fn totals(&self) -> WanCounters {
        self.totals
    }

    pub fn lateness(&self) -> Lateness {
        self.lateness.report()
    }

    /// Flows that start or end at one of these; all of them for an empty list.
    pub fn flows(&self, touching: &[SocketAddr]) -> Vec<FlowCount> {
        self.flows.touching(touching)
    }
}

/// Which flow the parts of a fragmented packet are of.
#[derive(Debug, Default)]
struct Fragments(HashMap<FragmentKey, FlowKey>);

type FragmentKey = (IpAddr, IpAddr, u32);

/// Fragmented packets whose end is awaited; one whose end was lost is forgotten.
const MOST_FRAGMENTED: usize = 4096;

impl Fragments {
    /// A later fragment is of the flow that its first one said.
    fn flow(&mut self, packet: &Packet) -> Option<FlowKey> {
        let Some(fragment) = packet.fragment else {
            return packet.flow;
        };
        let key = (packet.source, packet.destination, fragment.number);
        if let Some(flow) = packet.flow {
            if self.0.len() >= MOST_FRAGMENTED {
                self.0.clear();
            }
            self.0.insert(key, flow);
            return Some(flow);
        }
        if fragment.last {
            self.0.remove(&key)
        } else {
            self.0.get(&key).copied()
        }
    }
}
