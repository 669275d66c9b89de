//! What was delivered, by flow, and what was not, by reason.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use model::flow::{FlowCount, FlowKey};

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
    fragments: HashMap<FragmentKey, FlowKey>,
}

type FragmentKey = (IpAddr, IpAddr, u32);

/// Fragmented packets whose end is awaited; one whose end was lost is forgotten.
const MOST_FRAGMENTED: usize = 4096;

impl Counters {
    pub fn delivered(&mut self, packet: &Packet) {
        self.totals.delivered += packet.segments;
        if let Some(flow) = self.flow(packet) {
            self.flows.add(flow, packet.segments, packet.payload);
        }
    }

    /// A later fragment is of the flow that its first one said.
    fn flow(&mut self, packet: &Packet) -> Option<FlowKey> {
        let Some(fragment) = packet.fragment else {
            return packet.flow;
        };
        let key = (packet.source, packet.destination, fragment.number);
        if let Some(flow) = packet.flow {
            if self.fragments.len() >= MOST_FRAGMENTED {
                self.fragments.clear();
            }
            self.fragments.insert(key, flow);
            return Some(flow);
        }
        if fragment.last {
            self.fragments.remove(&key)
        } else {
            self.fragments.get(&key).copied()
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
