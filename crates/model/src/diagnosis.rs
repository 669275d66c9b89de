//! What is wrong with a host, out of what it says of itself.

mod conclude;

use std::net::IpAddr;

use serde::Serialize;

use crate::event::NatMeasured;
use crate::inventory::{NodeName, Transport};
use crate::nat::Behaviour;

pub use conclude::conclude;

/// What a host says of itself in one session.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HostFacts {
    pub kernel: String,
    pub arch: String,
    /// `None` where it is no glibc, or does not say.
    pub glibc: Option<String>,
    pub uptime_seconds: u64,
    /// Its clock minus ours.
    pub clock_skew_ms: i64,
    /// Every unit that vps-test installed.
    pub units: Vec<UnitFacts>,
    pub listeners: Vec<Listener>,
    pub disks: Vec<Disk>,
    pub memory: Memory,
    pub load: f64,
    pub processors: u32,
    /// TCP connections, and UDP flows that name a peer.
    pub connections: Vec<Connections>,
    /// Kernel lines of processes that were ended for want of memory, newest last.
    pub out_of_memory: Vec<String>,
    /// `None` where no NAT box is installed.
    pub nat_box: Option<NatBoxFacts>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnitFacts {
    pub name: String,
    /// systemd's words: `active`, `failed`, `activating`; `running`, `auto-restart`.
    pub active: String,
    pub sub: String,
    /// `success`, `exit-code`, `signal`, `oom-kill`, …
    pub result: String,
    pub exit_status: i32,
    pub restarts: u32,
    pub pid: u32,
    /// Seconds since it is in this state.
    pub since_seconds: Option<u64>,
    /// What it was told on its command line.
    pub command: String,
    /// Last lines of its journal.
    pub log: Vec<String>,
}

impl UnitFacts {
    pub fn runs(&self) -> bool {
        self.active == "active"
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    pub transport: Transport,
    pub port: u16,
    /// Of the process that holds it; empty where it cannot be seen.
    pub program: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The path that was asked for.
    pub path: String,
    pub size_bytes: u64,
    pub free_bytes: u64,
    /// `None` where the file system has no fixed number of them.
    pub free_inodes: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub total_bytes: u64,
    pub available_bytes: u64,
}

/// By the process that has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connections {
    pub program: String,
    pub transport: Transport,
    pub count: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct NatBoxFacts {
    pub unit_is_active: bool,
    pub namespace_is_there: bool,
    pub rules_are_there: bool,
    pub forwards: bool,
}

/// What config, inventory and earlier runs say of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub node: NodeName,
    pub install_path: String,
    /// Ports that do not move, and what for.
    pub ports: Vec<(Transport, u16, String)>,
    pub nat: Option<Behaviour>,
    /// The newest measurement, and in which run.
    pub measured: Option<(NatMeasured, String)>,
    pub dns: Dns,
    pub addresses: Vec<IpAddr>,
    pub hostname: String,
}

/// What the hostname leads to, from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "dns")]
pub enum Dns {
    Resolved {
        addresses: Vec<IpAddr>,
    },
    Failed {
        why: String,
    },
    /// Nobody asked: names are mapped by an ssh configuration.
    Mapped,
}

/// One thing that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub severity: Severity,
    pub what: String,
    pub remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Tests cannot go well.
    Fault,
    /// They may, and somebody should look.
    Warning,
    /// Nothing is wrong.
    Note,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Unreachable,
    Service,
    Port,
    Disk,
    Memory,
    NatBox,
    Clock,
    Dns,
}

impl Kind {
    /// Whether the host is at fault, rather than what we run on it.
    pub fn is_host(self) -> bool {
        self != Self::Service
    }
}
