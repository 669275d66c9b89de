//! saorsa-gossip as a tester: broadcast, CRDTs and membership between real peers.
//!
//! A library besides, because `saorsa-quic-test` performs the same suites: both
//! stand on one ant-quic.

mod broadcast;
mod cache;
mod call;
mod clock;
mod coordinator;
mod crdt;
mod label;
mod membership;
mod mesh;
mod node;
mod said;
mod session;
mod suites;
mod tester;

pub use cache::forget_cache;
pub use suites::Suites;
pub use tester::GossipTester;
