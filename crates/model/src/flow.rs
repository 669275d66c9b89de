//! Byte counters per flow, as seen from outside the peers.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One direction between two outer UDP or TCP endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    pub transport: crate::inventory::Transport,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// What was delivered on a flow since it was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    pub flow: FlowKey,
    /// Wire packets: a segmented super-packet counts as its segments.
    pub packets: u64,
    /// Transport payload bytes (UDP or TCP data), headers not counted.
    pub bytes: u64,
}
