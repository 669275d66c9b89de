//! What the registry tells of runs, and how it is told of them.
//!
//! The engine publishes its journal's entries; the registry folds them with
//! [`crate::run::Run::apply`], so that both come to the same run.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::Attempt;
use crate::event::Decision;
use crate::judge::judge_test;
use crate::proof::{CriterionResult, MatrixCell, last_test};
use crate::run::{Run, State};
use crate::stats::Verdict;

/// `PROJECT/TIME`, as the run's directory is called.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Both parts are 1 to 64 letters, digits, `.`, `_` or `-`, and do not begin
    /// with a dot.
    pub fn new(project: &str, time: &str) -> Option<Self> {
        let is_plain = |part: &str| {
            (1..=64).contains(&part.len())
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        (is_plain(project) && is_plain(time)).then(|| Self(format!("{project}/{time}")))
    }

    /// What [`RunId::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        let (project, time) = text.split_once('/')?;
        Self::new(project, time)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn project(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    pub fn time(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Answer to published entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// The number of the entry that is wanted next: all before it are kept for good.
    pub next_seq: u64,
}

/// A run in a few lines, as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSummary {
    pub run: RunId,
    pub fleet: String,
    pub project: String,
    pub focus: String,
    /// `twin NAME` or `fleet FILE`.
    pub runs_on: String,
    pub state: State,
    pub entered_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// The end of the wait that it is in.
    pub wait_until: Option<Timestamp>,
    /// Why it is not going on.
    pub stopped: Option<String>,
    pub cycle: u32,
    /// TESTs passed in this cycle, of how many.
    pub passed: u32,
    pub tests: u32,
    /// Every judgement so far, oldest first.
    pub verdicts: Vec<Verdict>,
    /// Where the newest TEST stands.
    pub standing: Verdict,
    pub standing_summary: String,
    pub criteria: Vec<CriterionResult>,
    pub attempts: u64,
    /// Numbers of tested nodes: that take part, and that were planned.
    pub nodes_reached: u32,
    pub nodes: u32,
    /// What was tested: `ant-quic 0.27.61`.
    pub stack: Option<String>,
    /// The newest event, by its name in the journal.
    pub last_event: String,
    pub last_at: Option<Timestamp>,
}

impl RunSummary {
    /// `None` before there is a plan.
    pub fn of(id: &RunId, run: &Run, last_event: &str, last_at: Timestamp) -> Option<Self> {
        let plan = run.plan.as_ref()?;
        let (cycle, pass) = last_test(run);
        let judgement = judge_test(plan, run, cycle, pass);
        let tested = plan.nodes.iter().filter(|node| node.tested);
        Some(Self {
            run: id.clone(),
            fleet: plan.fleet.clone(),
            project: plan.project.clone(),
            focus: plan.focus.clone(),
            runs_on: plan.runs_on.clone(),
            state: if run.stopped.is_some() {
                State::Stopped
            } else {
                run.state
            },
            entered_at: run.entered_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
            wait_until: run.wait_until,
            stopped: run.stopped.as_ref().map(|(_, detail)| detail.clone()),
            cycle: run.cycle,
            passed: run.pass + u32::from(run.judged == Some(Verdict::Pass)),
            tests: 1 + u32::try_from(plan.soak_seconds.len()).unwrap_or(u32::MAX),
            verdicts: run.verdicts.iter().map(|(_, _, v)| *v).collect(),
            standing: judgement.verdict,
            standing_summary: judgement.summary,
            criteria: judgement.criteria,
            attempts: run.attempts.len() as u64,
            nodes_reached: count(tested.clone().filter(|n| run.reached.contains_key(&n.name))),
            nodes: count(tested),
            stack: run.deployed.iter().rev().find_map(|deployed| {
                let is_stacks = deployed
                    .unit
                    .ends_with(&format!("-{}.service", plan.module));
                deployed.stack.clone().filter(|_| is_stacks)
            }),
            last_event: last_event.to_owned(),
            last_at: Some(last_at),
        })
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Complete | State::Stopped)
    }
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// `GET /api/runs`: the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunList {
    pub runs: Vec<RunSummary>,
    /// Give it as `after` for what follows; absent at the end.
    pub next: Option<String>,
}

/// `GET /api/results`: attempts in the order in which they ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultList {
    pub run: Option<RunId>,
    pub results: Vec<Attempt>,
    pub next: Option<String>,
}

/// `GET /api/matrix`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixAnswer {
    pub run: Option<RunId>,
    pub cells: Vec<MatrixCell>,
}

/// `POST /api/runs/P/T/decision`: a person's word on a run that waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decide {
    pub decision: Decision,
    /// Up to 500 bytes on one line; needed to reject.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A person's word as the registry keeps it, until whoever has the journal takes it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    pub decision: Decision,
    pub reason: Option<String>,
    /// The name of the token that they showed.
    pub by: String,
    pub at: Timestamp,
    /// How much of the journal was published then: what they decided about.
    pub entries: u64,
}

/// `GET /api/runs/P/T/decision`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionAnswer {
    /// A person's word is all that the run lacks.
    pub awaits_review: bool,
    pub decided: Option<Decided>,
}

/// `data` of a server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum News {
    /// A run's journal has a new entry.
    Entry {
        run: RunId,
        seq: u64,
        event: String,
        state: State,
    },
    /// A run was removed.
    Removed { run: RunId },
    /// Somebody confirmed or rejected a run that waits for it.
    Decided { run: RunId },
    /// A peer came, or fell silent.
    Peer {
        peer: String,
        node: String,
        alive: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_two_plain_words() {
        let id = RunId::new("ant-quic", "20250110T143000Z").unwrap();
        assert_eq!(id.as_str(), "ant-quic/20250110T143000Z");
        assert_eq!((id.project(), id.time()), ("ant-quic", "20250110T143000Z"));
        assert_eq!(RunId::parse(id.as_str()), Some(id));
        for (project, time) in [("", "t"), ("..", "t"), ("a/b", "t"), ("a", "é"), ("a", "")] {
            assert_eq!(RunId::new(project, time), None, "{project:?} {time:?}");
        }
    }
}
