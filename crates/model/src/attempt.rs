//! One try in a cell: what was asked, what happened, what the wire showed.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::explain::Explanation;
use crate::family::Family;
use crate::inventory::{NodeName, PeerId};
use crate::nat::theory::{Category, Prediction};
use crate::protocol::{AttemptId, ClaimedPath, Failure, Rung};
use crate::suite::SuiteName;

/// An ordered pair of peers on two nodes, the caller and the callee, over one address
/// family.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Pair {
    /// The caller's node.
    pub from: NodeName,
    /// The callee's node.
    pub to: NodeName,
    /// Which of the caller's peers, counted from 1; absent where its node has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_peer: Option<u16>,
    /// Which of the callee's peers, counted from 1; absent where its node has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_peer: Option<u16>,
    /// Absent for IPv4.
    #[serde(default, skip_serializing_if = "Family::is_ipv4")]
    pub family: Family,
}

impl Pair {
    /// Of nodes with one peer each, over IPv4.
    pub fn of_nodes(from: NodeName, to: NodeName) -> Self {
        Self {
            from,
            to,
            from_peer: None,
            to_peer: None,
            family: Family::Ipv4,
        }
    }

    /// The same two nodes, whichever of their peers it was.
    pub fn without_peers(&self) -> Self {
        Self {
            family: self.family,
            ..Self::of_nodes(self.from.clone(), self.to.clone())
        }
    }

    pub fn nodes(&self) -> [&NodeName; 2] {
        [&self.from, &self.to]
    }

    pub fn caller(&self) -> PeerId {
        PeerId::new(self.from.clone(), self.from_peer.unwrap_or(1))
    }

    pub fn callee(&self) -> PeerId {
        PeerId::new(self.to.clone(), self.to_peer.unwrap_or(1))
    }

    /// `saorsa-2`, or `saorsa-2/3` where the node has several.
    pub fn caller_name(&self) -> String {
        named(&self.from, self.from_peer)
    }

    pub fn callee_name(&self) -> String {
        named(&self.to, self.to_peer)
    }
}

fn named(node: &NodeName, peer: Option<u16>) -> String {
    match peer {
        None => node.to_string(),
        Some(number) => PeerId::new(node.clone(), number).to_string(),
    }
}

/// `saorsa-2 → saorsa-4/2`, and ` (IPv6)` behind it where it is that.
impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = match self.family {
            Family::Ipv4 => "",
            Family::Ipv6 => " (IPv6)",
        };
        f.pad(&format!(
            "{} → {}{family}",
            self.caller_name(),
            self.callee_name()
        ))
    }
}

/// A pair with everything that is fixed about it before any attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    #[serde(flatten)]
    pub pair: Pair,
    pub category: Category,
    pub predicted: Prediction,
}

impl Cell {
    /// The name of the criterion that judges it: `direct`, or `direct_ipv6`.
    pub fn criterion(&self) -> String {
        self.pair.family.measure(&self.category.to_string())
    }
}

/// Which matrix an attempt belongs to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Matrix {
    /// Plain UDP, which must agree with theory before the stack is tried.
    Reference,
    /// The stack under test; the attempts that criteria judge.
    Stack,
}

/// An attempt that is about to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptStart {
    pub id: AttemptId,
    pub matrix: Matrix,
    /// The suite that it was made for.
    #[serde(default)]
    pub suite: SuiteName,
    /// 0 at first; one more after every fix and every restart.
    pub cycle: u32,
    /// 0 is a cycle's first TEST, 1 the one after the first wait, 2 after the second.
    pub pass: u32,
    /// Position in this pass's schedule; criteria are judged in this order.
    pub position: u32,
    #[serde(flatten)]
    pub cell: Cell,
}

/// A finished attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    #[serde(flatten)]
    pub start: AttemptStart,
    pub outcome: Outcome,
    /// What counters outside the peers showed.
    pub observed: Observed,
    /// What the stack said of its own connection.
    pub claimed: ClaimedPath,
    pub rungs: Vec<RungRecord>,
    /// From the first packet of the winning rung to a usable connection.
    pub connect_ms: Option<f64>,
    /// How many attempts ran when this one began; above four, connect times inflate.
    pub at_once: u32,
    pub endpoints: Endpoints,
    /// Why it failed, by the evidence; `None` for what did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "class")]
pub enum Outcome {
    /// The payload went each way and both digests are right.
    Success,
    /// The stack did not do it.
    StackFailure(Failure),
    /// Nothing was learnt about the stack.
    Infrastructure { detail: String },
}

/// The path that counted packets took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObservedPath {
    Direct,
    /// At least 90% of the payload in both legs of a third party.
    Relayed,
    /// No path carried the payload.
    None,
    /// Nobody counted; not the same as none.
    Unmeasured,
}

impl std::fmt::Display for ObservedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Relayed => "relayed",
            Self::None => "none",
            Self::Unmeasured => "unmeasured",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    pub path: ObservedPath,
    /// The third party of a relayed path.
    pub via: Option<SocketAddr>,
    /// Payload bytes counted from caller to callee and back, on the path named.
    pub forth_bytes: u64,
    pub back_bytes: u64,
    /// What a second count, made elsewhere, came to, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<ObservedPath>,
    /// Why nobody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<String>,
}

impl Observed {
    pub const UNMEASURED: Self = Self {
        path: ObservedPath::Unmeasured,
        via: None,
        forth_bytes: 0,
        back_bytes: 0,
        witness: None,
        unmeasured: None,
    };

    pub fn unmeasured(why: impl Into<String>) -> Self {
        Self {
            unmeasured: Some(why.into()),
            ..Self::UNMEASURED
        }
    }

    /// The same path, through the same host if it is relayed.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let via = |observed: &Self| observed.via.map(|via| via.ip());
        self.path == other.path && via(self) == via(other)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RungRecord {
    pub rung: Rung,
    pub elapsed_ms: f64,
    pub timeout_ms: u64,
    /// What the dialling side was told to dial; empty where it was told nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dialled: Vec<SocketAddr>,
    /// `None` where the rung succeeded.
    pub failure: Option<Failure>,
}

/// Every address that the two sides knew themselves or each other by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Endpoints {
    pub caller: Vec<SocketAddr>,
    pub callee: Vec<SocketAddr>,
}

/// What stands in for the outcome of an attempt that was in flight when the run
/// was killed or stopped.
pub const INTERRUPTED: &str = "the run was interrupted during this attempt";

impl Attempt {
    /// A tester could say these words too, and hide its failures with them; but what
    /// it ended was begun, and so is counted among those at once.
    pub fn was_interrupted(&self) -> bool {
        self.at_once == 0
            && matches!(&self.outcome, Outcome::Infrastructure { detail } if detail == INTERRUPTED)
    }

    /// Whether this counts as a success of its cell's category.
    ///
    /// A relayed connection where a path exists is a failed traversal: the
    /// category asks for a path between the two, and a relay is none. Where theory
    /// says *sometimes*, no path is owed, and a relay does.
    pub fn verdict(&self) -> Counted {
        match &self.outcome {
            Outcome::Infrastructure { .. } => Counted::Infrastructure,
            Outcome::StackFailure(_) => Counted::Failure,
            Outcome::Success if self.start.cell.category == Category::Relay => Counted::Success,
            Outcome::Success if self.start.cell.predicted == Prediction::Sometimes => {
                Counted::Success
            }
            Outcome::Success if self.is_relayed() => Counted::Failure,
            Outcome::Success => Counted::Success,
        }
    }

    /// As observed; claim and rung count only where nobody observed.
    pub fn is_relayed(&self) -> bool {
        match self.observed.path {
            ObservedPath::Relayed => true,
            ObservedPath::Unmeasured => self.claimed == ClaimedPath::Relayed || self.won_by_relay(),
            ObservedPath::Direct | ObservedPath::None => false,
        }
    }

    /// What was dialled was a relay's address, whatever the stack calls it.
    fn won_by_relay(&self) -> bool {
        let won = self.rungs.iter().find(|rung| rung.failure.is_none());
        won.is_some_and(|rung| matches!(rung.rung, Rung::Relayed | Rung::Reverse))
    }

    /// The stack said one thing and the wire another.
    pub fn disagrees(&self) -> bool {
        matches!(
            (self.claimed, &self.observed.path),
            (
                ClaimedPath::Direct | ClaimedPath::Punched,
                ObservedPath::Relayed
            ) | (ClaimedPath::Relayed, ObservedPath::Direct)
                | (
                    ClaimedPath::Direct | ClaimedPath::Punched | ClaimedPath::Relayed,
                    ObservedPath::None
                )
        )
    }
}

/// How an attempt enters a criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Success,
    Failure,
    /// Shown and capped, neither success nor failure.
    Infrastructure,
}
