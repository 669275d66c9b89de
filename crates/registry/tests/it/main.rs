//! The registry over real HTTP and HTTPS on loopback, in process and as the
//! binary that fleets run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod binary;
mod client;
mod decisions;
mod http;
mod https;
mod journal;
mod prometheus;
mod runs;
