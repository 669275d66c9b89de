//! The pure heart: what a fleet, a plan, a NAT, a verdict and a run *are*.
//!
//! No I/O, no clock, no async. Time and randomness arrive as arguments. Every
//! other crate depends on this one; this one depends on none of them.

pub mod attempt;
pub mod cells;
pub mod config;
pub mod draws;
pub mod event;
pub mod family;
pub mod flow;
pub mod inventory;
pub mod judge;
pub mod nat;
pub mod path;
pub mod payload;
pub mod problem;
pub mod proof;
pub mod protocol;
pub mod registration;
pub mod run;
pub mod sample;
pub mod stats;
