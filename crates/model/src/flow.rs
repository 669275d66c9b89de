//! Counters per flow, as seen from outside the peers.

use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A flow that rested this long and begins again is counted from zero: its
/// ports belong to another attempt by then.
pub const MEMORY: SignedDuration = SignedDuration::from_mins(5);

/// One direction between two outer UDP or TCP endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    pub transport: crate::inventory::Transport,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// What was counted of a flow at its two ends, outside of any NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    pub flow: FlowKey,
    /// Out of the sender's host; `None` where nobody counts there.
    pub left: Option<Tally>,
    /// At the receiver's host; `None` where nobody counts there.
    pub arrived: Option<Tally>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Wire packets on the twin. A host counts a segmented super-packet once.
    pub packets: u64,
    /// Transport payload bytes (UDP or TCP data), headers not counted.
    pub bytes: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

impl FlowCount {
    /// What got through, as far as anybody saw.
    pub fn bytes(&self) -> u64 {
        self.arrived.or(self.left).unwrap_or_default().bytes
    }
}

impl Tally {
    /// With the headers of UDP over IPv4.
    pub fn bytes_on_wire(&self) -> u64 {
        self.bytes + 28 * self.packets
    }

    pub fn add(&mut self, packets: u64, bytes: u64, now: Timestamp) {
        if self
            .last
            .is_some_and(|last| now.duration_since(last) > MEMORY)
        {
            *self = Self::default();
        }
        self.packets += packets;
        self.bytes += bytes;
        self.first = self.first.or(Some(now));
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_rested_long_begins_again() {
        let mut tally = Tally::default();
        let start = Timestamp::UNIX_EPOCH;
        tally.add(1, 100, start);
        tally.add(2, 200, start + MEMORY);
        assert_eq!((tally.packets, tally.bytes), (3, 300));
        assert_eq!(tally.first, Some(start));
        let much_later = start + MEMORY + MEMORY + SignedDuration::from_secs(1);
        tally.add(1, 10, much_later);
        assert_eq!(
            (tally.packets, tally.bytes, tally.first),
            (1, 10, Some(much_later))
        );
    }
}
