//! The library under every tester.
//!
//! A tester is one P2P stack behind the agent protocol (`docs/agent-protocol.md`).
//! It implements [`Tester`] and calls [`main`]; this crate does the rest: the
//! command line, the socket, attempts and their lifetimes, deadlines, panics,
//! logs, metrics and the registry. [`exchange`] moves an attempt's payload over
//! any message transport, lossy ones included; [`load`] as much as goes through.

mod attempts;
mod cli;
mod digest;
mod entry;
pub mod exchange;
pub mod load;
mod log;
mod metrics;
mod notes;
mod registry;
mod server;
mod sessions;
mod tester;

pub use entry::main;
pub use notes::{Conditions, Notes};
pub use sessions::Sessions;
pub use tester::{Description, Tester, millis_since};
