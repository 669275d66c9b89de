//! What a run needs to know that is not in its plan: where things are now.

use std::path::PathBuf;
use std::sync::Arc;

use fleet::Reach;
use model::config::{Config, Module};
use model::family::Family;
use model::inventory::{Fleet, NodeName};

use crate::observer::Observer;
use crate::stack::StackPatch;

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
    pub stack: Option<StackPatch>,
    pub observer: Option<Arc<dyn Observer>>,
}

impl Settings {
    pub fn install_path(&self) -> &str {
        &self.config.deploy.install_path
    }

    /// The address families that are tried.
    pub fn families(&self) -> &[Family] {
        &self.config.tests.connectivity.families
    }

    /// `saorsa-test-quic-test.service`
    pub fn unit(&self, what: &str) -> String {
        format!("{}-{what}.service", self.config.deploy.service_prefix)
    }
}
