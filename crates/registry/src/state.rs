//! What all requests share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use model::registration::Health;

use crate::auth::Token;
use crate::peers::{Moment, Peers};
use crate::requests::Requests;

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) type Shared = Arc<State>;

pub(crate) struct State {
    pub token: Token,
    pub requests: Requests,
    started: Instant,
    peers: Mutex<Peers>,
}

impl State {
    pub fn new(token: Token, peers: Peers) -> Self {
        Self {
            token,
            requests: Requests::default(),
            started: Instant::now(),
            peers: Mutex::new(peers),
        }
    }

    /// The table without those who are long gone. Held for microseconds and never
    /// across an await.
    pub fn peers(&self, now: Moment) -> MutexGuard<'_, Peers> {
        // The table's own methods leave it whole even where they panic.
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.sweep(now);
        peers
    }

    pub fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub fn health(&self, now: Moment) -> Health {
        let (peers_alive, peers_known) = self.peers(now).count(now);
        Health {
            status: "OK".into(),
            version: VERSION.into(),
            uptime_seconds: self.uptime_seconds(),
            peers_alive,
            peers_known,
        }
    }
}
