//! Reaching hosts: SSH, upload, systemd services, logs, NAT boxes, packet counters,
//! captures.
//!
//! The same code serves the twin and real VPSs; it knows of no difference.

mod artifact;
mod capture;
mod counters;
mod diagnose;
mod error;
mod firewall;
mod host;
mod install;
mod lease;
mod natbox;
mod needs;
mod quote;
mod running;
mod separation;
mod unit;

pub use artifact::{Artifact, ArtifactError};
pub use capture::Vantage;
pub use counters::Counted;
pub use error::FleetError;
pub use firewall::{inner_v6_address, outer_addresses};
pub use host::{Facts, Forwarded, Host, Reach};
pub use install::{Installed, Service};
pub use lease::{Holder, Lease};
pub use natbox::{INNER_ADDRESS, NatBox};
pub use needs::{Interpreter, Needs, NoProgram, Unfit, check_program};
pub use quote::quote;
pub use running::SCRIPT_OF;
pub use unit::{INSTANCE, Unit};
