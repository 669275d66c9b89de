//! The pure heart: what a fleet, a plan, a NAT, a verdict and a run *are*.
//!
//! No I/O, no clock, no async. Time and randomness arrive as arguments. Every
//! other crate depends on this one; this one depends on none of them.

pub mod attempt;
pub mod baseline;
pub mod cells;
pub mod compare;
pub mod config;
pub mod diagnosis;
pub mod draws;
pub mod event;
pub mod explain;
pub mod expr;
pub mod fix;
pub mod flow;
pub mod health;
pub mod inventory;
pub mod judge;
pub mod link;
pub mod load;
pub mod measure;
pub mod metrics;
pub mod nat;
pub mod notice;
pub mod path;
pub mod payload;
pub mod problem;
pub mod proof;
pub mod protocol;
pub mod publication;
pub mod redact;
pub mod registration;
pub mod regression;
pub mod run;
pub mod sample;
pub mod stats;
pub mod status;
pub mod suite;
