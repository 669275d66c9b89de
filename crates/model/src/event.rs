//! What a run's journal is made of.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, AttemptStart};
use crate::baseline::Baseline;
use crate::family::Family;
use crate::fix::{FixCommit, FixTried, FoundFailure, SourceTree};
use crate::health::Health;
use crate::inventory::{NodeName, Place};
use crate::link::LinkMeasured;
use crate::measure::Measured;
use crate::nat::theory::End;
use crate::nat::{Behaviour, Certificate, Inbound, Udp};
use crate::proof::WanReport;
use crate::protocol::AttemptId;
use crate::run::State;
use crate::sample::Sample;
use crate::stats::{Criterion, Verdict};
use crate::suite::{Suite, SuiteName};

/// One line of `journal.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// 0, 1, 2, …: a gap is corruption.
    pub seq: u64,
    /// SHA-256 of the line before, without its end; of nothing for the first. So
    /// no line can be changed or taken out without changing all that follow.
    pub prev: String,
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The interview is over and its plan confirmed. Always the first entry.
    Confirmed(Box<Plan>),
    /// Where and with what the run is driven from; again after every resume.
    Environment(Environment),
    /// A step began; every effect it has is idempotent.
    Entered {
        state: State,
    },
    /// All of the step's effects are done.
    Finished {
        state: State,
    },
    NodeReached {
        node: NodeName,
        facts: NodeFacts,
    },
    /// The run goes on without this node.
    NodeDegraded {
        node: NodeName,
        reason: String,
    },
    /// The source that is about to be built, where git knows it.
    SourceTaken(SourceTree),
    Built(Build),
    BuildFailed {
        module: String,
        command: String,
        /// What the compiler showed, or the last lines of whatever failed.
        detail: String,
        #[serde(default)]
        errors: Vec<BuildProblem>,
    },
    Deployed(Deployed),
    /// The network between the hosts, a pair of every class.
    LinksMeasured {
        links: Vec<LinkMeasured>,
    },
    NatMeasured(NatMeasured),
    AttemptStarted(AttemptStart),
    AttemptFinished(Box<Attempt>),
    /// Started, and no outcome when the run was resumed. Counts as infrastructure.
    AttemptInterrupted {
        id: AttemptId,
    },
    /// Values of a suite's measure.
    Measured(Box<Measured>),
    /// All that a suite does in this TEST is done.
    SuiteFinished {
        cycle: u32,
        pass: u32,
        suite: SuiteName,
    },
    /// Something a reader should know that no criterion judges.
    Finding {
        detail: String,
    },
    /// The end of a TEST.
    Judged {
        cycle: u32,
        pass: u32,
        verdict: Verdict,
        summary: String,
    },
    /// The deadline stands whatever happens to this process or its clock.
    WaitBegan {
        state: State,
        until: Timestamp,
    },
    /// A look at every service during a wait.
    Probed {
        services: Vec<Health>,
    },
    /// What led into FIX, and where its bundle is.
    FailureFound(FoundFailure),
    FixTried(FixTried),
    /// The end of FIX: this is built next.
    FixCommitted(FixCommit),
    Completed,
    /// The run ended without a verdict of the stack, or was stopped; it can be resumed.
    Stopped {
        cause: StopCause,
        detail: String,
    },
    Resumed,
    /// A person's word on a run that is parked for it.
    Reviewed(Review),
    /// What was gathered once the run was over; the last word of every end.
    Collected(Collected),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// A person or a signal asked for it.
    Requested,
    /// Hosts, NATs, tools: anything but the stack under test.
    Infrastructure,
    /// Failed, and fixing was given up.
    Failed,
    /// Failed, and waits in FIX for a person.
    Parked,
    /// The budget ran out before the data decided.
    Inconclusive,
    /// All tests passed, and the plan asks that a person looks before it counts.
    Unconfirmed,
    /// That person said no.
    Rejected,
}

/// What was agreed in the interview, complete enough to judge the run again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub project: String,
    pub module: String,
    pub focus: String,
    pub criteria_mode: String,
    pub proof_mode: String,
    pub fleet: String,
    /// `twin NAME` or `fleet FILE`.
    pub runs_on: String,
    pub nodes: Vec<PlanNode>,
    /// The address families that are tried, each with cells and criteria of its own;
    /// absent for IPv4 alone.
    #[serde(
        default = "Family::ipv4_alone",
        skip_serializing_if = "Family::are_ipv4_alone"
    )]
    pub families: Vec<Family>,
    /// What TEST performs, in this order.
    #[serde(default)]
    pub suites: Vec<Suite>,
    /// Absent where every pair of every suite is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    pub criteria: Vec<Criterion>,
    /// Criteria in the user's own words, or a suite's.
    #[serde(default)]
    pub expressions: Vec<String>,
    /// What an `improvement` is measured against.
    #[serde(default)]
    pub baseline: Option<Baseline>,
    /// First attempts per criterion and pass after which an undecided one is INCONCLUSIVE.
    pub budget: u32,
    pub payload_bytes: u64,
    pub timeout_ms: u64,
    pub cooloff_seconds: u64,
    /// Durations of WAIT_1HR and WAIT_6HR that are on, in seconds.
    pub soak_seconds: Vec<u64>,
    /// Percentage points that a criterion may drop by from one pass to the next.
    #[serde(default)]
    pub regression_tolerance: f64,
    pub stack: Option<StackSource>,
    pub harness_version: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanNode {
    pub name: NodeName,
    pub role: String,
    pub region: String,
    /// Where the region lies, if the inventory says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    pub tested: bool,
    /// What its NAT is labelled to be to the outside; `None` is public.
    pub nat: Option<Behaviour>,
    #[serde(default, skip_serializing_if = "Udp::is_open")]
    pub udp: Udp,
    #[serde(default, skip_serializing_if = "Inbound::is_dropped")]
    pub inbound: Inbound,
    pub expected_success: Option<f64>,
    /// Testers of the stack that run there, side by side.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub peers: u16,
    /// Those that it has an address of; absent for IPv4 alone.
    #[serde(
        default = "Family::ipv4_alone",
        skip_serializing_if = "Family::are_ipv4_alone"
    )]
    pub families: Vec<Family>,
}

fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(peers: &u16) -> bool {
    *peers == 1
}

impl PlanNode {
    /// As theory sees it. Nobody translates IPv6: who has a NAT in IPv4 has a stateful
    /// firewall there.
    pub fn end(&self, family: Family) -> End {
        match (self.nat, self.udp, family) {
            (None, _, _) => End::Public,
            (Some(_), Udp::Blocked, _) => End::NoUdp,
            (Some(behaviour), Udp::Open, Family::Ipv4) => End::Nat {
                behaviour,
                inbound: self.inbound,
            },
            (Some(_), Udp::Open, Family::Ipv6) => Some(Behaviour::FIREWALL).into(),
        }
    }
}

/// The engineer's own tree of the stack, as it was when the tester was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StackSource {
    pub name: String,
    /// As given: a path, `GIT#REV` or a version.
    pub given: String,
    pub commit: Option<String>,
    /// SHA-256 of the uncommitted diff; `None` where the tree is clean or is not a work tree.
    pub dirty_sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFacts {
    /// The name or address that answered.
    pub reached_by: String,
    pub kernel: String,
    pub free_bytes: u64,
    pub clock_skew_ms: i64,
    /// As `uname -m` says it; empty in journals of earlier versions.
    #[serde(default)]
    pub arch: String,
    /// `None` where it has none, or does not say.
    #[serde(default)]
    pub glibc: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    pub binary: String,
    pub command: String,
    pub sha256: String,
    pub bytes: u64,
    pub seconds: f64,
    /// Of the whole build command, as far as it says so.
    #[serde(default)]
    pub warnings: u32,
}

/// One error of a compiler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuildProblem {
    pub message: String,
    /// `E0308`
    pub code: Option<String>,
    pub file: Option<String>,
    /// 1-based, as the column.
    pub line: Option<u32>,
    pub column: Option<u32>,
    /// With the lines of the source, as the compiler shows it.
    pub rendered: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    pub node: NodeName,
    pub binary: String,
    pub unit: String,
    /// Read back from the running process.
    pub digest: String,
    /// 0 where the host had it already.
    pub sent_bytes: u64,
    /// `stack version` as the running tester says in `hello`; `None` for services that say none.
    pub stack: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NatMeasured {
    pub node: NodeName,
    /// Of IPv6 it is a firewall; absent for IPv4.
    #[serde(default, skip_serializing_if = "Family::is_ipv4")]
    pub family: Family,
    pub labelled: Behaviour,
    pub certificate: Certificate,
    /// `None` where it is what its label says; else both, in a sentence.
    pub mismatch: Option<String>,
    /// Its box was made another one for the time, which is what its label says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stands_in: bool,
}

impl NatMeasured {
    /// The node's, with the family where that is IPv6, and whether it is itself.
    pub fn name(&self) -> String {
        match self.family {
            Family::Ipv4 if self.stands_in => format!("{}, standing in,", self.node),
            Family::Ipv4 => self.node.to_string(),
            Family::Ipv6 => format!("{} (IPv6)", self.node),
        }
    }
}

/// The controller's side of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    pub harness_version: String,
    /// SHA-256 of the `vps-test` that ran it; `None` where it could not read itself.
    pub harness_sha256: Option<String>,
    /// `linux x86_64`, and the kernel where there is one to ask.
    pub system: String,
    pub processors: u32,
    /// Where the run directory was, with `~` for home.
    pub run_dir: String,
}

/// What was gathered at an end: files of the run directory, each with its digest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Collected {
    pub files: Vec<EvidenceFile>,
    /// `None` where nobody emulates the network.
    pub wan: Option<WanReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceFile {
    pub kind: EvidenceKind,
    /// Relative to the run directory.
    pub path: String,
    pub sha256: String,
    pub bytes: u64,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// Of a unit on a node.
    Log,
    Metrics,
    /// Packets of an attempt, as pcapng.
    Capture,
    /// The nftables rules of a NAT box, as its kernel held them at the end.
    Ruleset,
}

/// Who looked at a run whose plan asks for it, and what they said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    pub decision: Decision,
    /// `USER@HOST`, or the name of an operator's token.
    pub by: String,
    /// `terminal` or `dashboard`.
    pub via: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Confirmed,
    Rejected,
}

impl Event {
    /// The name it has in the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Confirmed(_) => "confirmed",
            Self::Entered { .. } => "entered",
            Self::Finished { .. } => "finished",
            Self::NodeReached { .. } => "node_reached",
            Self::NodeDegraded { .. } => "node_degraded",
            Self::SourceTaken(_) => "source_taken",
            Self::Probed { .. } => "probed",
            Self::FailureFound(_) => "failure_found",
            Self::FixTried(_) => "fix_tried",
            Self::FixCommitted(_) => "fix_committed",
            Self::Built(_) => "built",
            Self::BuildFailed { .. } => "build_failed",
            Self::Deployed(_) => "deployed",
            Self::LinksMeasured { .. } => "links_measured",
            Self::NatMeasured(_) => "nat_measured",
            Self::AttemptStarted(_) => "attempt_started",
            Self::AttemptFinished(_) => "attempt_finished",
            Self::AttemptInterrupted { .. } => "attempt_interrupted",
            Self::Measured(_) => "measured",
            Self::SuiteFinished { .. } => "suite_finished",
            Self::Finding { .. } => "finding",
            Self::Judged { .. } => "judged",
            Self::WaitBegan { .. } => "wait_began",
            Self::Completed => "completed",
            Self::Stopped { .. } => "stopped",
            Self::Resumed => "resumed",
            Self::Environment(_) => "environment",
            Self::Collected(_) => "collected",
            Self::Reviewed(_) => "reviewed",
        }
    }
}
