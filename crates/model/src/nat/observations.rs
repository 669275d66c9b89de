//! What a prober saw, and nothing it concluded (see `nat::classify`).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observations {
    /// One inner port, seen from several outer endpoints.
    pub mapping: MappingProbe,
    /// Who got through to a mapped port that had only sent to reflector A's primary.
    pub filtering: FilteringProbe,
    /// Whether a datagram to one's own mapped address came back; `None` if not tried.
    pub hairpin: Option<bool>,
    /// Mapped ports that were left alone for a while, each its own time. Empty: not tried.
    #[serde(default)]
    pub silences: Vec<Silence>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingProbe {
    pub local: SocketAddr,
    /// The outer address that each destination saw, in the order A, A', B.
    /// `None`: no answer. B is missing where there is one reflector only.
    pub seen_by: Vec<(SocketAddr, Option<SocketAddr>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilteringProbe {
    pub local: SocketAddr,
    pub mapped: Option<SocketAddr>,
    /// From A's primary, which was sent to. False: no UDP at all.
    pub from_contacted: bool,
    /// From A's other port.
    pub from_other_port: bool,
    /// From B, which was never sent to; `None` where there is one reflector only.
    pub from_other_address: Option<bool>,
    /// The outer address that B saw when it was sent to at last, after its own
    /// datagrams had come unasked; `None` if it was not tried.
    #[serde(default)]
    pub seen_after_inbound: Option<SocketAddr>,
}

/// A mapped port, and whether the one that was sent to still got through to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub milliseconds: u64,
    pub came_through: bool,
}
