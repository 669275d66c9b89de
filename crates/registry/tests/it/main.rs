//! The registry over real HTTP and HTTPS on loopback, in process and as the
//! binary that fleets run.

mod binary;
mod client;
mod http;
mod https;
mod prometheus;
