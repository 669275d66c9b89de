//! What a run's journal is made of.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, AttemptStart};
use crate::family::Family;
use crate::inventory::{NodeName, Place};
use crate::nat::{Behaviour, Certificate};
use crate::protocol::AttemptId;
use crate::run::State;
use crate::sample::Sample;
use crate::stats::{Criterion, Verdict};

/// One line of `journal.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// 0, 1, 2, …: a gap is corruption.
    pub seq: u64,
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The interview is over and its plan confirmed. Always the first entry.
    Confirmed(Box<Plan>),
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
    Built(Build),
    BuildFailed {
        module: String,
        command: String,
        detail: String,
    },
    Deployed(Deployed),
    NatMeasured(NatMeasured),
    AttemptStarted(AttemptStart),
    AttemptFinished(Box<Attempt>),
    /// Started, and no outcome when the run was resumed. Counts as infrastructure.
    AttemptInterrupted {
        id: AttemptId,
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
    Completed,
    /// The run ended without a verdict of the stack, or was stopped; it can be resumed.
    Stopped {
        cause: StopCause,
        detail: String,
    },
    Resumed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// A person or a signal asked for it.
    Requested,
    /// Hosts, NATs, tools: anything but the stack under test.
    Infrastructure,
    /// Failed, and there is nobody to fix it.
    Failed,
    /// The budget ran out before the data decided.
    Inconclusive,
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
    /// The address families that are tried, each with cells and criteria of its own.
    #[serde(default = "ipv4_alone")]
    pub families: Vec<Family>,
    /// Absent where every pair is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    pub criteria: Vec<Criterion>,
    /// First attempts per criterion and pass after which an undecided one is INCONCLUSIVE.
    pub budget: u32,
    pub payload_bytes: u64,
    pub timeout_ms: u64,
    pub cooloff_seconds: u64,
    /// Durations of WAIT_1HR and WAIT_6HR that are on, in seconds.
    pub soak_seconds: Vec<u64>,
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
    /// The NAT it is labelled with; `None` is public.
    pub nat: Option<Behaviour>,
    pub expected_success: Option<f64>,
    /// Whether it has an address there besides the IPv4 one.
    #[serde(default)]
    pub ipv6: bool,
    /// Testers of the stack that run there, side by side.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub peers: u16,
}

impl PlanNode {
    /// What stands in front of its testers; `None` is nothing. Nobody translates
    /// IPv6: who has a NAT in IPv4 has a stateful firewall there.
    pub fn front(&self, family: Family) -> Option<Behaviour> {
        match family {
            Family::Ipv4 => self.nat,
            Family::Ipv6 => self.nat.map(|_| Behaviour::FIREWALL),
        }
    }

    pub fn speaks(&self, family: Family) -> bool {
        family == Family::Ipv4 || self.ipv6
    }
}

fn ipv4_alone() -> Vec<Family> {
    vec![Family::Ipv4]
}

fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(peers: &u16) -> bool {
    *peers == 1
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
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    pub binary: String,
    pub command: String,
    pub sha256: String,
    pub bytes: u64,
    pub seconds: f64,
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
    #[serde(default)]
    pub family: Family,
    pub labelled: Behaviour,
    pub certificate: Certificate,
    /// `None` where it is what its label says; else both, in a sentence.
    pub mismatch: Option<String>,
}
