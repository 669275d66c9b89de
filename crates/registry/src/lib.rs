//! The registry: which peers are there, since when, and what they measure.
//!
//! Peers register and send heartbeats over HTTP(S); people, Prometheus and the
//! engine read. Everything is in memory and bounded: a registry that restarts
//! answers 404 to the next heartbeat, and the peer registers again. Verdicts
//! never depend on it. `docs/registry.md` describes the API.

mod api;
mod auth;
pub mod certify;
pub mod client;
mod error;
mod fields;
pub mod peers;
mod prometheus;
mod requests;
pub mod server;
mod state;

pub use auth::{Token, TokenError};
pub use server::{Config, ServeError, Server, Tls};
