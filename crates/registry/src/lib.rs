//! The registry: which peers are there, which runs there are, and what they came
//! to.
//!
//! Peers register and send heartbeats over HTTP(S); the engine publishes the
//! entries of a run's journal; people, Prometheus and programs read. Peers are in
//! memory and bounded; runs are in SQLite and survive. Verdicts never depend on
//! it. `docs/registry.md` describes the API.

mod api;
mod auth;
pub mod certify;
pub mod client;
mod decisions;
mod error;
mod fields;
mod pages;
pub mod peers;
mod prometheus;
mod requests;
pub mod runs;
pub mod server;
mod state;
pub mod store;

pub use auth::file as tokens;
pub use auth::token::{Scope, Token};
pub use server::{Config, ServeError, Server, Tls};
pub use state::Settings;

/// The API as an OpenAPI document.
pub fn openapi() -> serde_json::Value {
    api::openapi::document()
}
