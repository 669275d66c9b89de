//! Reaching hosts: SSH, upload, systemd services, logs, NAT boxes.
//!
//! The same code serves the twin and real VPSs; it knows of no difference.

mod artifact;
mod error;
mod firewall;
mod host;
mod install;
mod natbox;
mod quote;
mod unit;

pub use artifact::{Artifact, ArtifactError};
pub use error::FleetError;
pub use firewall::inner_v6_address;
pub use host::{Facts, Forwarded, Host, Reach};
pub use install::{Installed, Service};
pub use natbox::{INNER_ADDRESS, NatBox};
pub use quote::quote;
pub use unit::{INSTANCE, Unit};
