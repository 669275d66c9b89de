//! The pure heart: what a fleet, a plan, a NAT, a verdict and a run *are*.
//!
//! No I/O, no clock, no async. Time and randomness arrive as arguments. Every
//! other crate depends on this one; this one depends on none of them.

pub mod flow;
pub mod inventory;
pub mod nat;
pub mod payload;
pub mod protocol;
pub mod registration;
