//! What peers and the registry say to each other over HTTP.
//!
//! Bodies are JSON. Every request but `GET /health` carries
//! `Authorization: Bearer TOKEN`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /api/register`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Registered {
    pub peer: String,
    /// A peer that is silent for longer is shown as gone.
    pub ttl_seconds: u64,
}

/// `POST /api/heartbeat`; 404 where the peer is unknown, which then registers again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    pub peer: String,
    /// Current values by Prometheus name (`attempts_total`, `resident_memory_bytes`).
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// What it logged since the last heartbeat, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// One entry of `GET /api/peers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    pub peer: String,
    /// Of the token that it registered with.
    #[serde(default)]
    pub fleet: String,
    #[serde(flatten)]
    pub registration: Registration,
    /// The NAT that its node was last measured behind, `none` without one; absent
    /// where no run says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<String>,
    /// Unix milliseconds.
    pub registered_at: i64,
    pub last_seen: i64,
    pub alive: bool,
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
}

/// `GET /api/peers`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peers {
    pub peers: Vec<Peer>,
    /// Give it as `after` for what follows; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `GET /health`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Always `OK`: a registry that answers is healthy.
    pub status: String,
    pub version: String,
    pub uptime_seconds: f64,
    pub peers_alive: usize,
    /// Alive ones and those that fell silent and were not dropped yet.
    pub peers_known: usize,
    /// Runs that are kept here.
    #[serde(default)]
    pub runs: u64,
}

/// `GET /api/metrics`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    pub registry: Health,
    /// The last values of every peer, by Prometheus name; the peer knows what they mean.
    pub peers: Vec<PeerMetrics>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerMetrics {
    pub peer: String,
    pub project: String,
    pub node: String,
    pub alive: bool,
    pub metrics: BTreeMap<String, f64>,
}

/// Every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// For programs: `unauthorized`, `unknown_peer`, …; `docs/registry.md` lists them.
    pub error: String,
    /// For people: what is wrong and what to do.
    pub message: String,
}
