//! What a run leaves behind for others to read: the shape of `proof.json`.
//!
//! `docs/proof.schema.json` is generated from these types.

pub mod behaviours;
mod build;

pub use build::{History, ProofError, last_test};

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Counted, Matrix, ObservedPath, Pair};
use crate::event::{Build, Environment, EvidenceFile, Plan, Review};
use crate::inventory::NodeName;
use crate::link::LinkMeasured;
use crate::measure::summary::Summary;
use crate::measure::{Measured, Unit, Yield};
use crate::nat::theory::{Category, Prediction};
use crate::protocol::ClaimedPath;
use crate::run::State;
use crate::stats::Verdict;
use crate::suite::SuiteName;
use behaviours::BehaviourPair;

/// Version of this document's shape.
pub const SCHEMA: u32 = 2;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    pub schema: u32,
    pub verdict: Verdict,
    /// In words: what decided, or what is missing.
    pub summary: String,
    pub project: String,
    pub focus: String,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub state: String,
    pub criteria: Vec<CriterionResult>,
    /// One entry an ordered pair.
    pub matrix: Vec<MatrixCell>,
    /// The last TEST's first attempts, and every other attempt of the run.
    pub attempts: Vec<Attempt>,
    /// Of `nat-traversal` in the last TEST.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behaviours: Vec<BehaviourPair>,
    /// What every measure came to in the last TEST.
    #[serde(default)]
    pub measures: Vec<Summary>,
    /// What suites measured besides, in every TEST of the run.
    #[serde(default)]
    pub measured: Vec<Measured>,
    pub nodes: Vec<ProofNode>,
    pub findings: Vec<String>,
    pub plan: Plan,
    pub builds: Vec<Build>,
    pub wan: Option<WanReport>,
    /// The network between the hosts as it was set and as it was measured before
    /// the last TEST, a pair of every class.
    #[serde(default)]
    pub links: Vec<LinkMeasured>,
    pub evidence: Evidence,
    /// Every state that the run was in, in order.
    pub timeline: Vec<TimelineEntry>,
    /// Every TEST that was judged, in order: the soak's trend.
    pub passes: Vec<PassResult>,
    pub environment: Environment,
    /// A person's word, where the plan asked for one and it was given.
    pub review: Option<Reviewed>,
    pub journal: JournalMark,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    pub state: State,
    pub at: Timestamp,
    pub cycle: u32,
    pub pass: u32,
}

/// One TEST, judged on its own attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PassResult {
    pub cycle: u32,
    pub pass: u32,
    pub at: Timestamp,
    pub verdict: Verdict,
    pub summary: String,
    pub criteria: Vec<CriterionResult>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reviewed {
    pub at: Timestamp,
    #[serde(flatten)]
    pub review: Review,
}

/// The journal that all of this follows from: any change to it changes its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalMark {
    pub entries: u64,
    /// SHA-256 of the last line.
    pub head: String,
}

impl Proof {
    /// The command that tries the last failed attempt of a pair again; `None` where
    /// none of its attempts failed.
    pub fn repro(&self, pair: &Pair) -> Option<String> {
        let failed = |a: &&Attempt| {
            a.start.matrix == Matrix::Stack
                && a.start.cell.pair == *pair
                && a.verdict() == Counted::Failure
        };
        let attempt = self.attempts.iter().rev().find(failed)?;
        let (project, id) = (&self.project, &attempt.start.id.0);
        Some(format!("vps-test repro {project} {id} --run"))
    }

    /// What the last TEST yielded: what the verdict is about.
    pub fn last_yield(&self) -> Yield<'_> {
        let stack = self
            .attempts
            .iter()
            .filter(|a| a.start.matrix == Matrix::Stack);
        let of_attempts = stack.clone().map(|a| (a.start.cycle, a.start.pass));
        let of_measures = self.measured.iter().map(|m| (m.cycle, m.pass));
        let last = of_attempts.chain(of_measures).max().unwrap_or_default();
        let mut attempts: Vec<&Attempt> = stack
            .filter(|a| (a.start.cycle, a.start.pass) == last)
            .collect();
        attempts.sort_by_key(|a| a.start.position);
        let measured = self.measured.iter();
        Yield {
            attempts,
            measured: measured.filter(|m| (m.cycle, m.pass) == last).collect(),
        }
    }
}

/// One criterion, judged over what the last TEST yielded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CriterionResult {
    #[serde(default)]
    pub suite: SuiteName,
    /// Of no other criterion of the run: of the measure, with the suite before it where
    /// several have one of that name.
    pub name: String,
    /// What it asks for, in words: `direct ≥ 99% (margin 4)`.
    #[serde(default)]
    pub asks: String,
    /// Of `target`, `estimate` and `interval`.
    #[serde(default)]
    pub unit: Unit,
    pub target: f64,
    /// Of a rate: percentage points below the target that are still tolerated.
    pub margin: f64,
    /// Trials or samples that count; infrastructure failures are not among them.
    pub attempts: u64,
    /// Of a rate, the successes; of a quantile, the samples within the bound.
    pub successes: u64,
    pub infrastructure_failures: u64,
    /// The rate or quantile of the sample; absent without data.
    #[serde(default)]
    pub estimate: Option<f64>,
    /// Of a rate Clopper–Pearson, 95%; of a quantile by order statistics; absent
    /// where there are too few.
    pub interval: Option<[f64; 2]>,
    /// Of `improvement`: what the earlier run had.
    #[serde(default)]
    pub baseline: Option<BaselineValue>,
    /// Cells that fail more often than the others that they are judged with.
    #[serde(default)]
    pub uneven: Vec<String>,
    pub verdict: Verdict,
    /// How the test came to it, or what would settle it.
    pub reason: String,
}

impl CriterionResult {
    /// Whether it judges this measure of this suite.
    pub fn is_of(&self, suite: &SuiteName, measure: &str) -> bool {
        let name = self.name.rsplit('/').next();
        self.suite == *suite && name == Some(measure)
    }
}

/// The same number in an earlier run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineValue {
    pub estimate: f64,
    pub attempts: u64,
    /// Newcombe's interval for the difference of two rates, in percentage points,
    /// new minus old, two-sided with the test's own error on each side.
    pub difference: Option<[f64; 2]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixCell {
    #[serde(default)]
    pub suite: SuiteName,
    #[serde(flatten)]
    pub pair: Pair,
    pub category: Category,
    pub predicted: Prediction,
    /// Of the cell's first attempt in the last TEST.
    pub observed: ObservedPath,
    pub claimed: ClaimedPath,
    pub attempts: u64,
    pub successes: u64,
    /// What plain UDP did in this cell; absent where it was not tried.
    pub reference: Option<ObservedPath>,
    /// Of that attempt, where no more than four ran at once.
    pub connect_ms: Option<f64>,
    /// The first failure's reason.
    pub failure: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofNode {
    pub name: NodeName,
    pub role: String,
    pub region: String,
    /// `reached`, or why it was not.
    pub reached: String,
    pub nat: NodeNatProof,
    /// What stands in front of it in IPv6; absent where that was not tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<NodeNatProof>,
    /// SHA-256 of the running tester of the stack; absent where none runs.
    pub digest: Option<String>,
    /// Running digest of every service we started there, by unit.
    pub services: BTreeMap<String, String>,
    pub stack: Option<String>,
    pub kernel: Option<String>,
}

impl ProofNode {
    /// Everything of it that was measured or should have been, with the node's name.
    pub fn fronts(&self) -> Vec<(String, &NodeNatProof)> {
        let boxed = Some(&self.nat).filter(|nat| nat.labelled != "none");
        let boxed = boxed.map(|nat| (self.name.to_string(), nat));
        let firewall = self.firewall.as_ref();
        let firewall = firewall.map(|firewall| (format!("{} (IPv6)", self.name), firewall));
        boxed.into_iter().chain(firewall).collect()
    }
}

/// What a node's NAT was said to be, and what it was measured to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeNatProof {
    /// `Full Cone (EIM/EIF)`; `none` for a public node.
    pub labelled: String,
    /// The same form; `not measured` where no prober ran.
    pub measured: String,
    /// The probes that show it.
    pub evidence: Vec<String>,
}

/// How late the emulated internet was with its packets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WanReport {
    /// Of every random draw, so that a run can be repeated.
    pub seed: u64,
    pub packets: u64,
    pub lateness_p50_ms: f64,
    pub lateness_p99_ms: f64,
    /// Packets dropped that no setting asked for.
    pub unasked_drops: u64,
}

impl WanReport {
    /// The WAN was in time, so that latencies through it mean something.
    pub fn was_in_time(&self) -> bool {
        self.lateness_p99_ms <= 5.0
    }
}

/// Files of the run directory, by path relative to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    pub logs: Vec<String>,
    /// pcapng, of attempts by their id.
    #[serde(default)]
    pub captures: Vec<String>,
    pub metrics: Option<String>,
    pub fix_commits: Vec<String>,
    /// All of the above and the NAT boxes' rules, with digests.
    pub files: Vec<EvidenceFile>,
}
