//! What peers and the registry say to each other over HTTP.
//!
//! Bodies are JSON. Every write carries `Authorization: Bearer TOKEN`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `POST /api/register`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    pub project: String,
    pub node: String,
    /// Binary name of the tester.
    pub tester: String,
    pub stack_version: String,
    /// SHA-256 of the running executable.
    pub digest: String,
    pub pid: u32,
    /// The address that its services bind.
    pub local: Option<SocketAddr>,
}

/// Answer to a registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    pub peer: String,
    /// A peer that is silent for longer is shown as gone.
    pub ttl_seconds: u64,
}

/// `POST /api/heartbeat`; 404 where the peer is unknown, which then registers again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub peer: String,
    /// Current values by Prometheus name (`attempts_total`, `resident_memory_bytes`).
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
}

/// One entry of `GET /api/peers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    pub peer: String,
    #[serde(flatten)]
    pub registration: Registration,
    /// Unix milliseconds.
    pub registered_at: i64,
    pub last_seen: i64,
    pub alive: bool,
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
}

/// `GET /api/peers`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    pub peers: Vec<Peer>,
}
