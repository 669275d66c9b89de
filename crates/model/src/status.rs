//! Where a run stands, in the few words and numbers that `status` shows.

use jiff::Timestamp;
use serde::Serialize;

use crate::attempt::{Counted, Matrix};
use crate::event::StopCause;
use crate::inventory::NodeName;
use crate::run::{Action, Run, State};
use crate::stats::Verdict;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub project: String,
    pub focus: String,
    pub runs_on: String,
    pub state: State,
    /// When that state was entered; when it ended, for a run that did.
    pub since: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub next: Next,
    /// 0 at first; one more after every fix and every restart.
    pub cycle: u32,
    /// TESTs passed in this cycle, and how many have to be.
    pub passed: u32,
    pub passes: u32,
    /// The stack's attempts in this cycle's current or last TEST.
    pub attempts: Counters,
    pub in_flight: usize,
    pub verdict: Option<Verdict>,
    pub stopped: Option<Stopped>,
    /// Of the stack's own tree, as it was when the run began; then those of FIX.
    pub commits: Vec<String>,
    pub findings: usize,
    pub degraded: Vec<NodeName>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    pub succeeded: usize,
    pub failed: usize,
    pub infrastructure: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stopped {
    pub cause: StopCause,
    pub detail: String,
}

/// What follows, and when; `None` is now, or when somebody does something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Next {
    pub what: String,
    pub at: Option<Timestamp>,
}

impl Status {
    /// `None` of a run that has no plan yet.
    pub fn of(run: &Run, now: Timestamp) -> Option<Self> {
        let plan = run.plan.as_ref()?;
        let is_over = run.stopped.is_some() || run.state == State::Complete;
        let began = plan.stack.as_ref().and_then(|stack| stack.commit.clone());
        let fixes = run.fixes().filter_map(|fix| fix.commit.clone());
        let commits = began.into_iter().chain(fixes).collect();
        Some(Self {
            project: plan.project.clone(),
            focus: plan.focus.clone(),
            runs_on: plan.runs_on.clone(),
            state: if run.stopped.is_some() {
                State::Stopped
            } else {
                run.state
            },
            since: if is_over {
                run.ended_at
            } else {
                run.entered_at
            },
            started_at: run.started_at,
            next: next(run, now),
            cycle: run.cycle,
            passed: passed(run),
            passes: 1 + u32::try_from(plan.soak_seconds.len()).unwrap_or(0),
            attempts: counters(run),
            in_flight: run.in_flight.len(),
            verdict: run.last_verdict(),
            stopped: run.stopped.as_ref().map(|(cause, detail)| Stopped {
                cause: *cause,
                detail: detail.clone(),
            }),
            commits,
            findings: run.findings.len(),
            degraded: run.degraded.keys().cloned().collect(),
        })
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Complete | State::Stopped)
    }
}

/// `Run::pass` counts the waits that began.
fn passed(run: &Run) -> u32 {
    let current = run.judged == Some(Verdict::Pass);
    run.pass + u32::from(current)
}

fn counters(run: &Run) -> Counters {
    let newest = run
        .attempts
        .iter()
        .filter(|a| a.start.matrix == Matrix::Stack)
        .map(|a| (a.start.cycle, a.start.pass))
        .max();
    let mut counters = Counters::default();
    for attempt in newest.map_or(Vec::new(), |(cycle, pass)| run.judged_attempts(cycle, pass)) {
        *match attempt.verdict() {
            Counted::Success => &mut counters.succeeded,
            Counted::Failure => &mut counters.failed,
            Counted::Infrastructure => &mut counters.infrastructure,
        } += 1;
    }
    counters
}

fn next(run: &Run, now: Timestamp) -> Next {
    let (what, at) = match run.next(now) {
        Action::SleepUntil(until) => (State::Test.to_string(), Some(until)),
        Action::Enter(state) => (state.to_string(), None),
        Action::Perform(state) => (after(run, state), None),
        Action::BeginWait { state, .. } => (state.to_string(), None),
        Action::Complete => (State::Complete.to_string(), None),
        Action::Stop(_) => (State::Stopped.to_string(), None),
        _ => ("nothing".to_owned(), None),
    };
    Next { what, at }
}

/// Where a state leads if all goes well.
fn after(run: &Run, state: State) -> String {
    let soak = run.plan.as_ref().map_or(&[][..], |plan| &plan.soak_seconds);
    let next = match state {
        State::Interview | State::Restart => State::Setup,
        State::Setup => State::BuildLocal,
        State::BuildLocal => State::Deploy,
        State::Fix => State::BuildLocal,
        State::Deploy | State::Wait1Hr | State::Wait6Hr => State::Test,
        State::Test => match (soak.get(run.pass as usize), run.pass) {
            (None, _) => State::Complete,
            (Some(_), 0) => State::Wait1Hr,
            (Some(_), _) => State::Wait6Hr,
        },
        State::Complete | State::Stopped => return "nothing".into(),
    };
    next.to_string()
}
