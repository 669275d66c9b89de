//! What a run leaves behind for others to read: the shape of `proof.json`.
//!
//! `docs/proof.schema.json` is generated from these types.

mod build;

pub use build::{Collected, build, last_test, mode_of};

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, ObservedPath, Pair};
use crate::event::{Build, Plan};
use crate::inventory::NodeName;
use crate::nat::theory::{Category, Prediction};
use crate::protocol::ClaimedPath;
use crate::stats::Verdict;

/// Version of this document's shape.
pub const SCHEMA: u32 = 1;

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
    pub nodes: Vec<ProofNode>,
    pub findings: Vec<String>,
    pub plan: Plan,
    pub builds: Vec<Build>,
    pub wan: Option<WanReport>,
    pub evidence: Evidence,
}

/// One criterion, judged over the attempts of the last TEST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CriterionResult {
    pub name: String,
    /// Percent.
    pub target: f64,
    /// Percentage points below the target that are still tolerated.
    pub margin: f64,
    /// Attempts that count; infrastructure failures are not among them.
    pub attempts: u64,
    pub successes: u64,
    pub infrastructure_failures: u64,
    /// Clopper–Pearson, 95%, in percent; absent without attempts.
    pub interval: Option<[f64; 2]>,
    pub verdict: Verdict,
    /// How the sequential test came to it, or what would settle it.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixCell {
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
    pub packets: u64,
    pub lateness_p50_ms: f64,
    pub lateness_p99_ms: f64,
    /// Packets dropped that no setting asked for.
    pub unasked_drops: u64,
}

/// Files of the run directory, by path relative to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    pub logs: Vec<String>,
    pub metrics: Option<String>,
    pub fix_commits: Vec<String>,
}
