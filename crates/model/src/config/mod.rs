//! A project's plan: what to build, where to put it, how to judge it.

mod interview;
mod read;

pub use interview::{Choice, CriteriaMode, Focus, ProofMode, UnknownChoice, about_project};
pub use read::{ConfigFile, node_by_any_name, read};

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::family::Family;
use crate::inventory::Node;
use crate::load::Load;
use crate::suite::{Suite, SuiteConfig, SuiteName, built_in, throughput};

/// The focus that means all of a module's suites.
pub const FULL_SUITE: &str = "full-suite";
use crate::notice::NoticeKind;

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
    /// Suites whose steps the tester performs, by name.
    #[serde(default)]
    pub suites: BTreeMap<String, SuiteConfig>,
    /// Words for several suites at once.
    #[serde(default)]
    pub focuses: BTreeMap<String, Vec<String>>,
    pub build: BuildConfig,
    pub deploy: DeployConfig,
    pub bootstrap: Option<BootstrapConfig>,
    pub criteria: CriteriaConfig,
    pub tests: TestsConfig,
    pub soak: SoakConfig,
    pub fix: FixConfig,
    pub notify: NotifyConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    pub binary: String,
    /// Folder of the crate, in the workspace; `None` for a tester that cargo does not build.
    #[serde(rename = "crate")]
    pub crate_dir: Option<String>,
    #[serde(default)]
    pub tests: Vec<String>,
    /// The project that `vps-test start` knows it by; the module's own name where absent.
    pub project: Option<String>,
    /// The crate under test, for `--stack`.
    pub stack: Option<String>,
    /// What the binary is under as a whole, where libraries that it links ask for it; as
    /// SPDX has it, and written down wherever the tester is installed.
    pub licence: Option<String>,
    /// Programs that the tester starts, by the name of their executable.
    #[serde(default)]
    pub companions: BTreeMap<String, Companion>,
}

/// Somebody else's program, installed beside a tester and never linked into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Companion {
    /// The crate that `cargo install` builds.
    #[serde(rename = "crate")]
    pub package: String,
    pub version: String,
    /// As SPDX has it; it is written down wherever the program is installed.
    pub licence: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildConfig {
    pub command: String,
    pub target_dir: String,
    /// A directory of binaries that somebody else built, in place of a build.
    pub path: Option<String>,
    /// Assets of a GitHub release, in place of a build.
    pub release: Option<ReleaseConfig>,
    /// The node that builds natively where a build here cannot; no test node.
    pub fallback: Option<String>,
}

/// What `gh release download` is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseConfig {
    /// `OWNER/NAME`; the workspace's own where absent.
    pub repo: Option<String>,
    /// The newest where absent.
    pub tag: Option<String>,
    #[serde(default = "any_linux")]
    pub pattern: String,
}

fn any_linux() -> String {
    "*linux*".into()
}

impl BuildConfig {
    /// Whether `command` would have cargo build a module that it knows nothing of.
    pub fn leaves_out(&self, module: &Module) -> bool {
        module.crate_dir.is_none()
            && self.path.is_none()
            && self.release.is_none()
            && self.command.split_whitespace().next() == Some("cargo")
    }

    /// Where a module's binaries come from, as a plan says it.
    pub fn source(&self, module: &Module) -> String {
        if self.leaves_out(module) {
            return format!("As it is ({})", module.binary);
        }
        match (&self.path, &self.release) {
            (Some(path), _) => format!("Built already ({path})"),
            (None, Some(release)) => format!(
                "GitHub release ({})",
                release.tag.as_deref().unwrap_or("the newest")
            ),
            (None, None) => format!("Local build ({})", self.command),
        }
    }
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
pub struct CriteriaConfig {
    /// What has to hold with the criteria `custom`; asked for where absent.
    pub custom: Option<String>,
    pub improvement: ImprovementConfig,
}

/// In percentage points of a rate, in percent of anything else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImprovementConfig {
    /// Better is more than this.
    pub margin: f64,
    /// Worse is more than this.
    pub tolerance: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestsConfig {
    pub connectivity: ConnectivityConfig,
    pub throughput: Load,
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
    /// Percentage points that a criterion may drop by from one pass to the next.
    pub regression_tolerance: f64,
    /// How often services are looked at during a wait.
    pub probe_seconds: u64,
}

/// Who mends the code after a failure, and within which bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixConfig {
    /// Any program; it gets the bundle's path as its last argument.
    pub command: Option<String>,
    /// A coding agent on PATH, in place of a command.
    pub agent: Option<FixAgent>,
    /// Local tests that a fix must pass before it is committed.
    pub test_command: Option<String>,
    pub max_attempts: u32,
    pub max_changed_lines: u64,
    /// Globs, from the repository's top, that a fix may not change.
    pub protected: Vec<String>,
    /// For the fixer, and for the local tests.
    pub timeout: Wait,
    /// How long a parked run looks for a new commit before it ends.
    pub wait: Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FixAgent {
    /// `claude -p`
    Claude,
    /// `codex exec`
    Codex,
}

impl FixConfig {
    pub fn timeout(&self) -> Duration {
        let hour = Duration::from_secs(3600);
        self.timeout.duration(hour).unwrap_or(hour)
    }

    pub fn wait(&self) -> Duration {
        let day = Duration::from_secs(24 * 3600);
        self.wait.duration(day).unwrap_or_default()
    }
}

/// Who is told, and of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// A command line; `~/.claude/hooks/notify.py` by default, where it is there.
    pub hook: Option<String>,
    pub webhook: Option<String>,
    pub on: Vec<NoticeKind>,
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

    /// Which of the modules this is, and how many there are: different projects run
    /// side by side, each with ports of its own.
    pub fn place_of(&self, module: &str) -> (usize, usize) {
        let modules = self.modules_in_order();
        let place = modules.iter().position(|(name, _)| *name == module);
        (place.unwrap_or(0), self.modules.len().max(1))
    }

    /// Every project that some module tests.
    pub fn projects(&self) -> Vec<&str> {
        let modules = self.modules_in_order();
        modules.into_iter().map(|(_, project)| project).collect()
    }

    /// Modules with their projects. A config's own come first, so that its first one
    /// has the ports that everybody knows, whatever the defaults have besides.
    fn modules_in_order(&self) -> Vec<(&str, &str)> {
        let modules = self.modules.iter();
        let mut all: Vec<(&str, &str)> = modules
            .map(|(name, module)| (name.as_str(), module.project.as_deref().unwrap_or(name)))
            .collect();
        all.sort_by_key(|(_, project)| interview::place_of_project(project));
        all
    }

    /// A suite by name: one that the engine drives, or one of this config.
    pub fn suite(&self, name: &str) -> Option<Suite> {
        let built_in = built_in()
            .into_iter()
            .chain([throughput(self.tests.throughput.clone())])
            .find(|suite| *suite.name.as_str() == *name);
        built_in.or_else(|| self.suites.get(name).map(|suite| suite.named(name)))
    }

    /// What a module's tests are, of those that exist.
    pub fn suites_of(&self, module: &Module) -> Vec<Suite> {
        let suites: Vec<Suite> = match module.tests.as_slice() {
            [] => built_in(),
            names => names.iter().filter_map(|name| self.suite(name)).collect(),
        };
        let families = &self.tests.connectivity.families;
        suites
            .into_iter()
            .map(|suite| suite.in_families(families))
            .collect()
    }

    /// The suites that a focus means for a module: the one of that name, those
    /// that `focuses` lists under it, or with `full-suite` all.
    ///
    /// # Errors
    /// The module has none of that name.
    pub fn focus(&self, module: &Module, word: &str) -> Result<Vec<Suite>, UnknownChoice> {
        let all = self.suites_of(module);
        let group = self.focuses.get(word);
        let is_meant = |suite: &SuiteName| {
            word == FULL_SUITE
                || suite.as_str() == word
                || group.is_some_and(|group| group.iter().any(|name| name == suite.as_str()))
        };
        let meant: Vec<Suite> = all
            .iter()
            .filter(|suite| is_meant(&suite.name))
            .cloned()
            .collect();
        if meant.is_empty() {
            let groups = self.focuses.iter().filter_map(|(word, group)| {
                let has = |name: &String| all.iter().any(|suite| suite.name.as_str() == *name);
                group.iter().any(has).then_some(word.as_str())
            });
            let known: Vec<&str> = all.iter().map(|suite| suite.name.as_str()).collect();
            let known = known.into_iter().chain(groups).chain([FULL_SUITE]);
            return Err(UnknownChoice::new("focus", word, known));
        }
        Ok(meant)
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
