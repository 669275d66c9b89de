//! The twin: a fleet booted on this machine.
//!
//! One daemon per twin, in a PID and a mount namespace of its own, holds
//! everything: the hosts (systemd-nspawn), their network namespaces and TUN
//! devices, and the WAN that joins them. Nothing is registered anywhere else, so
//! the end of the daemon, by whatever means, is the end of all of it.
//!
//! Linux only; on other systems this crate is empty.
#![cfg(target_os = "linux")]

mod addresses;
mod cgroup;
mod control;
mod daemon;
mod error;
mod fdpass;
mod host;
mod netns;
mod preflight;
mod record;
mod run_dir;
mod ssh_config;
mod twin;
mod wan;

pub use control::{HostReport, HostState, Status, WanCounters};
pub use daemon::serve;
pub use error::LabError;
pub use fdpass::send_fd;
pub use netns::Namespace;
pub use preflight::check as preflight;
pub use run_dir::RunDir;
pub use twin::{Twin, UpOptions, UpProgress, connect};
