//! A project's plan: what to build, where to put it, how to judge it.

mod interview;
mod read;

pub use interview::{Choice, CriteriaMode, Focus, ProofMode, UnknownChoice};
pub use read::{ConfigFile, node_by_any_name, read};

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::family::Family;
use crate::inventory::Node;

/// With every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Root of the workspace that holds the testers; `~` stands for home.
    pub workspace: String,
    /// Inventory whose twin is booted by default, relative to the config's project.
    pub fleet: Option<String>,
    /// Where runs are kept.
    pub state_dir: Option<String>,
    pub modules: BTreeMap<String, Module>,
    pub build: BuildConfig,
    pub deploy: DeployConfig,
    pub bootstrap: Option<BootstrapConfig>,
    pub tests: TestsConfig,
    pub soak: SoakConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    pub binary: String,
    /// Folder of the crate, in the workspace.
    #[serde(rename = "crate")]
    pub crate_dir: String,
    #[serde(default)]
    pub tests: Vec<String>,
    /// The project that `vps-test start` knows it by; the module's own name where absent.
    pub project: Option<String>,
    /// The crate under test, for `--stack`.
    pub stack: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildConfig {
    pub command: String,
    pub target_dir: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployConfig {
    pub install_path: String,
    pub service_prefix: String,
    pub nodes: Nodes,
    /// Testers of the stack on a node, where its inventory does not say.
    pub peers_per_node: u16,
}

/// `all`, or a list of names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Nodes {
    Word(String),
    Listed(Vec<String>),
}

impl Nodes {
    pub fn contains(&self, node: &Node) -> bool {
        match self {
            Self::Word(_) => true,
            Self::Listed(names) => names.iter().any(|name| node.is_called(name)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapConfig {
    /// `https://HOST[:PORT]`
    pub registry: Option<String>,
    /// `HOST:PORT`, by name, hostname or address.
    #[serde(default)]
    pub nodes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestsConfig {
    pub connectivity: ConnectivityConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectivityConfig {
    /// Address families to try, each with cells and criteria of its own.
    pub families: Vec<Family>,
    /// Ordered pairs to draw where there are more; `None` tries all.
    pub sample: Option<u32>,
    pub success_criteria: PerCategory,
    pub margins: PerCategory,
    pub budget: u32,
    pub payload_bytes: u64,
    pub concurrency: Concurrency,
    pub nat_cooloff_seconds: u64,
    pub timeout_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerCategory {
    pub direct: f64,
    pub nat_traversed: f64,
    pub relay: f64,
}

impl PerCategory {
    /// By the category's own name.
    pub fn named(self) -> [(&'static str, f64); 3] {
        [
            ("direct", self.direct),
            ("nat_traversed", self.nat_traversed),
            ("relay", self.relay),
        ]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    pub total: usize,
    pub per_node: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoakConfig {
    pub wait_1hr: Wait,
    pub wait_6hr: Wait,
    /// Percentage points that a criterion may drop by.
    pub regression_tolerance: f64,
}

/// `true` is the hour (or six) of the name; or a duration of one's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wait {
    Switch(bool),
    Seconds(u64),
    Text(String),
}

impl Wait {
    /// `None` where it is off.
    pub fn duration(&self, named: Duration) -> Option<Duration> {
        match self {
            Self::Switch(on) => on.then_some(named),
            Self::Seconds(seconds) => Some(Duration::from_secs(*seconds)),
            Self::Text(text) => parse_duration(text),
        }
        .filter(|d| !d.is_zero())
    }
}

/// `20s`, `5m`, `1h`, or seconds without a unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

impl Config {
    /// The module that tests this project, by project name or module name.
    pub fn module_of(&self, project: &str) -> Option<(&str, &Module)> {
        self.modules
            .iter()
            .find(|(name, module)| module.project.as_deref() == Some(project) || *name == project)
            .map(|(name, module)| (name.as_str(), module))
    }

    /// Every project that some module tests.
    pub fn projects(&self) -> Vec<&str> {
        self.modules
            .iter()
            .map(|(name, module)| module.project.as_deref().unwrap_or(name))
            .collect()
    }

    /// WAIT_1HR and WAIT_6HR, where they are on.
    pub fn soak_durations(&self) -> Vec<Duration> {
        let hour = Duration::from_secs(3600);
        [
            self.soak.wait_1hr.duration(hour),
            self.soak.wait_6hr.duration(6 * hour),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
