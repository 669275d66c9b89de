//! The interview's vocabularies, with the request's own descriptions.

use crate::problem::did_you_mean;

/// One of a fixed list of answers.
pub trait Choice: Copy + 'static {
    /// What is asked for: `focus`.
    const WHAT: &'static str;
    /// What stands above the question.
    const HEADER: &'static str;
    const QUESTION: &'static str;
    /// Every answer with its word and its description.
    const ALL: &'static [(Self, &'static str, &'static str)];

    /// The word that stands for it.
    fn word(self) -> &'static str
    where
        Self: PartialEq,
    {
        let found = Self::ALL.iter().find(|(value, ..)| *value == self);
        found.map_or("", |(_, word, _)| word)
    }

    fn parse(given: &str) -> Result<Self, UnknownChoice> {
        let found = Self::ALL.iter().find(|(_, word, _)| *word == given);
        found.map(|(value, ..)| *value).ok_or_else(|| {
            UnknownChoice::new(Self::WHAT, given, Self::ALL.iter().map(|(_, w, _)| *w))
        })
    }
}

/// The request's own projects in its order, and what it says of them.
const REQUESTED: [(&str, &str); 5] = [
    ("ant-quic", "QUIC transport with NAT traversal"),
    ("saorsa-gossip", "Gossip protocol layer"),
    ("communitas-mcp", "MCP server for Communitas"),
    ("saorsa-node", "Full Saorsa network node"),
    ("saorsa-core", "Core library (integration tests)"),
];

pub fn about_project(name: &str) -> Option<&'static str> {
    let found = REQUESTED.iter().find(|(known, _)| *known == name);
    found.map(|(_, about)| *about)
}

/// A config's own projects come first, then the request's.
pub(super) fn place_of_project(name: &str) -> usize {
    let place = REQUESTED.iter().position(|(known, _)| *known == name);
    place.map_or(0, |place| place + 1)
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("unknown {what} `{given}`")]
pub struct UnknownChoice {
    what: &'static str,
    given: String,
    #[help]
    help: String,
}

impl UnknownChoice {
    pub fn new<'a>(what: &'static str, given: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        let list = format!("it is one of {}", known.join(", "));
        let help = match did_you_mean(given, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? {list}"),
            None => list,
        };
        Self {
            what,
            given: given.to_owned(),
            help,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    Connectivity,
    NatTraversal,
    Gossip,
    Throughput,
    FullSuite,
}

impl Choice for Focus {
    const WHAT: &'static str = "focus";
    const HEADER: &'static str = "Test focus";
    const QUESTION: &'static str = "What specific functionality are you testing?";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Connectivity,
            "connectivity",
            "Connection matrix (direct, NAT, relay)",
        ),
        (
            Self::NatTraversal,
            "nat-traversal",
            "NAT hole-punching across different NAT types",
        ),
        (Self::Gossip, "gossip", "Message broadcast and CRDT sync"),
        (Self::Throughput, "throughput", "Data transfer performance"),
        (Self::FullSuite, "full-suite", "All tests in sequence"),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CriteriaMode {
    AllPass,
    Threshold,
    Improvement,
    Custom,
}

impl Choice for CriteriaMode {
    const WHAT: &'static str = "criteria";
    const HEADER: &'static str = "Success criteria";
    const QUESTION: &'static str = "What result indicates success?";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::AllPass, "all-pass", "100% of tests must pass"),
        (
            Self::Threshold,
            "threshold",
            "Meet configured success thresholds (e.g., 85% NAT)",
        ),
        (Self::Improvement, "improvement", "Better than previous run"),
        (Self::Custom, "custom", "I'll specify custom criteria"),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofMode {
    Logs,
    Metrics,
    ManualVerify,
    AllEvidence,
}

impl Choice for ProofMode {
    const WHAT: &'static str = "proof";
    const HEADER: &'static str = "Proof method";
    const QUESTION: &'static str = "How should success be proven/verified?";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Logs,
            "logs",
            "Gather and analyze logs from all VPS nodes",
        ),
        (
            Self::Metrics,
            "metrics",
            "Check dashboard metrics and Prometheus data",
        ),
        (
            Self::ManualVerify,
            "manual-verify",
            "I'll manually verify after tests complete",
        ),
        (
            Self::AllEvidence,
            "all-evidence",
            "Collect logs, metrics, and connection reports",
        ),
    ];
}

impl ProofMode {
    pub fn wants_logs(self) -> bool {
        self != Self::Metrics
    }

    pub fn wants_metrics(self) -> bool {
        self != Self::Logs
    }
}
