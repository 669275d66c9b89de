//! What a run needs to know that is not in its plan: where things are now.

use std::path::PathBuf;
use std::time::Duration;

use fleet::Reach;
use model::config::{Config, Module};
use model::inventory::{Fleet, NodeName};

use crate::capture::Capture;
use crate::observer::Observers;
use crate::stack::StackPatch;

#[derive(Clone)]
pub struct Settings {
    /// The hosts, at the addresses that they have now.
    pub fleet: Fleet,
    pub reach: Reach,
    pub config: Config,
    /// As the user knows it; peers register under it.
    pub project: String,
    pub module_name: String,
    pub module: Module,
    /// Root of the workspace that holds the testers.
    pub workspace: PathBuf,
    /// Nodes that keep a coordinator, and its port.
    pub bootstrap: Vec<(NodeName, u16)>,
    pub registry: Option<(NodeName, u16)>,
    /// In place of the workspace's own, where a fix is built in a work tree: what
    /// is compiled already stays compiled.
    pub cargo_target: Option<PathBuf>,
    pub stack: Option<StackPatch>,
    pub observers: Observers,
    /// Somebody makes the links between the hosts what the inventory says.
    pub links_are_set: bool,
    pub capture: Capture,
    /// Files that say how the run is judged: its config and its inventory.
    pub judged_by: Vec<PathBuf>,
}

impl Settings {
    pub fn install_path(&self) -> &str {
        &self.config.deploy.install_path
    }

    /// `saorsa-test-quic-test.service`
    pub fn unit(&self, what: &str) -> String {
        format!("{}-{what}.service", self.config.deploy.service_prefix)
    }

    pub fn cooloff(&self) -> Duration {
        Duration::from_secs(self.config.tests.connectivity.nat_cooloff_seconds)
    }
}
