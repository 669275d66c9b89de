//! A run is a fold over its journal.
//!
//! [`Run::apply`] takes one event and is the only thing that changes a run, live
//! or replayed; [`Run::next`] says what to do now. It checks a whole event before
//! it changes anything.

mod rules;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, AttemptStart, INTERRUPTED, Matrix, Observed, Outcome};
use crate::event::{
    Build, BuildProblem, Collected, Decision, Deployed, Environment, Event, NatMeasured, NodeFacts,
    Plan, Review, StopCause,
};
use crate::family::Family;
use crate::fix::{FailureKind, FixStep, FixedBy, FoundFailure, SourceTree};
use crate::health::{Health, regression};
use crate::inventory::NodeName;
use crate::link::LinkMeasured;
use crate::measure::{Measured, Yield};
use crate::protocol::{AttemptId, ClaimedPath};
use crate::stats::Verdict;
use crate::suite::SuiteName;

pub use rules::IllegalEvent;

/// The states of the request, by its names.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum State {
    #[default]
    #[serde(rename = "INTERVIEW")]
    Interview,
    #[serde(rename = "SETUP")]
    Setup,
    #[serde(rename = "BUILD_LOCAL")]
    BuildLocal,
    #[serde(rename = "DEPLOY")]
    Deploy,
    #[serde(rename = "TEST")]
    Test,
    #[serde(rename = "FIX")]
    Fix,
    #[serde(rename = "WAIT_1HR")]
    Wait1Hr,
    #[serde(rename = "WAIT_6HR")]
    Wait6Hr,
    #[serde(rename = "RESTART")]
    Restart,
    #[serde(rename = "COMPLETE")]
    Complete,
    #[serde(rename = "STOPPED")]
    Stopped,
}

impl State {
    /// Where a run may go from here by `Entered`.
    fn successors(self) -> &'static [Self] {
        match self {
            Self::Interview | Self::Restart => &[Self::Setup],
            Self::Setup => &[Self::BuildLocal],
            Self::BuildLocal => &[Self::Deploy, Self::Fix],
            // Back where the binaries are gone that were to be deployed.
            Self::Deploy => &[Self::Test, Self::BuildLocal],
            Self::Wait1Hr | Self::Wait6Hr => &[Self::Test, Self::Restart],
            Self::Test => &[Self::Fix, Self::Restart],
            Self::Fix => &[Self::BuildLocal],
            Self::Complete | Self::Stopped => &[],
        }
    }

    pub fn is_wait(self) -> bool {
        matches!(self, Self::Wait1Hr | Self::Wait6Hr)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Interview => "INTERVIEW",
            Self::Setup => "SETUP",
            Self::BuildLocal => "BUILD_LOCAL",
            Self::Deploy => "DEPLOY",
            Self::Test => "TEST",
            Self::Fix => "FIX",
            Self::Wait1Hr => "WAIT_1HR",
            Self::Wait6Hr => "WAIT_6HR",
            Self::Restart => "RESTART",
            Self::Complete => "COMPLETE",
            Self::Stopped => "STOPPED",
        })
    }
}

/// The proof mode, by the request's word, that parks a run for a person.
const MANUAL_VERIFY: &str = "manual-verify";

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask, and confirm a plan.
    Interview,
    /// Journal that this state is entered.
    Enter(State),
    /// Do (again) what the current state is for.
    Perform(State),
    BeginWait {
        state: State,
        until: Timestamp,
    },
    SleepUntil(Timestamp),
    Complete,
    Stop(StopCause),
    /// Nothing; the run is over, or parked until somebody resumes it.
    Rest,
}

/// A run as its journal tells it.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub plan: Option<Plan>,
    pub state: State,
    pub entered_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// One more after every fix and every restart.
    pub cycle: u32,
    /// TESTs passed in this cycle.
    pub pass: u32,
    /// The current state's effects are done.
    pub step_done: bool,
    pub build_failure: Option<String>,
    /// What the compiler said in the newest build, if that failed.
    pub build_errors: Vec<BuildProblem>,
    /// Builds and TESTs that failed.
    pub failures: u32,
    /// In FIX: what the build said, or `None` after a TEST.
    pub fix_cause: Option<String>,
    /// In FIX: what is to be mended.
    pub failure: Option<FoundFailure>,
    /// FIXes in a row that a build led to.
    pub build_cycles: u32,
    /// What was tried and committed, in order.
    pub fix_history: Vec<FixStep>,
    /// What the newest build was made from.
    pub source: Option<SourceTree>,
    /// In a wait: the first look at each service, and what has become worse since.
    pub healthy: BTreeMap<(NodeName, String), Health>,
    pub regression: Option<String>,
    /// Verdict of the current TEST, once it was judged.
    pub judged: Option<Verdict>,
    /// The newest verdict in words.
    pub judgement: Option<String>,
    pub wait_until: Option<Timestamp>,
    pub stopped: Option<(StopCause, String)>,
    /// Resumed after an INCONCLUSIVE end: everything is tested anew.
    pub starts_over: bool,
    pub reached: BTreeMap<NodeName, NodeFacts>,
    pub degraded: BTreeMap<NodeName, String>,
    pub builds: Vec<Build>,
    pub deployed: Vec<Deployed>,
    /// The newest measurement of each box.
    pub nats: BTreeMap<NodeName, NatMeasured>,
    /// The newest measurement of what stands before a node in IPv6.
    pub firewalls: BTreeMap<NodeName, NatMeasured>,
    /// The newest measurement.
    pub links: Vec<LinkMeasured>,
    pub in_flight: BTreeMap<AttemptId, AttemptStart>,
    pub attempts: Vec<Attempt>,
    pub measured: Vec<Measured>,
    /// Suites of a TEST that need not be performed again.
    pub suites_finished: BTreeSet<(u32, u32, SuiteName)>,
    pub findings: Vec<String>,
    pub verdicts: Vec<(u32, u32, Verdict)>,
    pub environment: Environment,
    /// At the newest end.
    pub collected: Option<Collected>,
    /// Of the last TEST of a run that was parked for it.
    pub review: Option<(Timestamp, Review)>,
    /// Of every attempt that was ever started.
    pub attempt_ids: HashSet<AttemptId>,
}

impl Run {
    /// Takes one event. On an error nothing has changed.
    ///
    /// # Errors
    /// The event does not belong here; the journal or the engine is wrong.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalEvent> {
        self.check(event)?;
        self.change(at, event);
        Ok(())
    }

    /// What to do at this time. Pure: asking twice changes nothing.
    pub fn next(&self, now: Timestamp) -> Action {
        if self.stopped.is_some() || self.state == State::Complete {
            return Action::Rest;
        }
        match self.state {
            State::Interview if self.plan.is_none() => Action::Interview,
            State::Interview => Action::Enter(State::Setup),
            State::Wait1Hr | State::Wait6Hr => self.next_in_wait(now),
            State::Test => self.next_in_test(now),
            State::BuildLocal if self.build_failure.is_some() => Action::Enter(State::Fix),
            state if !self.step_done => Action::Perform(state),
            state => Action::Enter(state.successors()[0]),
        }
    }

    fn next_in_wait(&self, now: Timestamp) -> Action {
        match self.wait_until {
            _ if self.regression.is_some() => Action::Enter(State::Restart),
            Some(until) if now < until => Action::SleepUntil(until),
            _ => Action::Enter(State::Test),
        }
    }

    fn next_in_test(&self, now: Timestamp) -> Action {
        match self.judged {
            None => Action::Perform(State::Test),
            Some(Verdict::Inconclusive) if self.starts_over => Action::Enter(State::Restart),
            Some(Verdict::Inconclusive) => Action::Stop(StopCause::Inconclusive),
            Some(Verdict::Fail) if self.pass > 0 => Action::Enter(State::Restart),
            Some(Verdict::Fail) => Action::Enter(State::Fix),
            Some(Verdict::Pass) => self.next_after_pass(now),
        }
    }

    fn next_after_pass(&self, now: Timestamp) -> Action {
        let soak = self
            .plan
            .as_ref()
            .map_or(&[][..], |plan| &plan.soak_seconds);
        match soak.get(self.pass as usize) {
            None => self.next_after_soak(),
            Some(seconds) => Action::BeginWait {
                state: if self.pass == 0 {
                    State::Wait1Hr
                } else {
                    State::Wait6Hr
                },
                until: now + SignedDuration::from_secs(i64::try_from(*seconds).unwrap_or(i64::MAX)),
            },
        }
    }

    /// A plan may ask for a person's eyes; the run is parked until they have spoken.
    fn next_after_soak(&self) -> Action {
        let plan = self.plan.as_ref();
        if plan.is_none_or(|plan| plan.proof_mode != MANUAL_VERIFY) {
            return Action::Complete;
        }
        match self.review.as_ref().map(|(_, review)| review.decision) {
            None => Action::Stop(StopCause::Unconfirmed),
            Some(Decision::Confirmed) => Action::Complete,
            Some(Decision::Rejected) => Action::Stop(StopCause::Rejected),
        }
    }

    /// Whether a person's word is all that is missing.
    pub fn awaits_review(&self) -> bool {
        matches!(self.stopped, Some((StopCause::Unconfirmed, _)))
    }

    /// First attempts of the stack in one TEST, in the order they were scheduled.
    pub fn judged_attempts(&self, cycle: u32, pass: u32) -> Vec<&Attempt> {
        let mut found: Vec<_> = self
            .attempts
            .iter()
            .filter(|a| {
                a.start.matrix == Matrix::Stack && a.start.cycle == cycle && a.start.pass == pass
            })
            .collect();
        found.sort_by_key(|a| a.start.position);
        found
    }

    /// All that one TEST yielded, for its judge.
    pub fn yielded(&self, cycle: u32, pass: u32) -> Yield<'_> {
        let of_test = |m: &&Measured| (m.cycle, m.pass) == (cycle, pass);
        Yield {
            attempts: self.judged_attempts(cycle, pass),
            measured: self.measured.iter().filter(of_test).collect(),
        }
    }

    /// Complete or stopped; a stopped one may still be resumed.
    pub fn is_over(&self) -> bool {
        self.stopped.is_some() || self.state == State::Complete
    }

    /// Of the next attempt of a TEST: one that is interrupted and run again goes on
    /// counting, so that no id is ever used twice.
    pub fn next_position(&self, matrix: Matrix, cycle: u32, pass: u32) -> u32 {
        let finished = self.attempts.iter().map(|a| &a.start);
        finished
            .chain(self.in_flight.values())
            .filter(|s| (s.matrix, s.cycle, s.pass) == (matrix, cycle, pass))
            .map(|s| s.position + 1)
            .max()
            .unwrap_or(0)
    }

    pub fn last_verdict(&self) -> Option<Verdict> {
        self.verdicts.last().map(|(_, _, verdict)| *verdict)
    }

    fn change(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Confirmed(plan) => {
                self.plan = Some(plan.as_ref().clone());
                self.started_at = Some(at);
                self.entered_at = Some(at);
            }
            Event::Entered { state } => self.enter(*state, at),
            Event::Finished { .. } => self.step_done = true,
            Event::NodeReached { node, facts } => {
                self.degraded.remove(node);
                self.reached.insert(node.clone(), facts.clone());
            }
            Event::NodeDegraded { node, reason } => {
                self.reached.remove(node);
                self.degraded.insert(node.clone(), reason.clone());
            }
            Event::Built(build) => {
                self.build_errors.clear();
                self.builds.push(build.clone());
            }
            Event::BuildFailed { detail, errors, .. } => {
                self.failures += 1;
                self.build_errors.clone_from(errors);
                self.build_failure = Some(detail.clone());
            }
            Event::SourceTaken(source) => self.source = Some(source.clone()),
            Event::Probed { services } => self.look_at(services),
            Event::FailureFound(found) => {
                self.build_cycles = match found.kind {
                    FailureKind::Build => self.build_cycles + 1,
                    FailureKind::Test => 0,
                };
                self.failure = Some(found.clone());
            }
            Event::FixTried(tried) => self.fix_history.push(FixStep::Tried(tried.clone())),
            Event::FixCommitted(fix) => {
                if fix.by == FixedBy::Hand {
                    self.build_cycles = 0;
                }
                self.fix_history.push(FixStep::Committed(fix.clone()));
                self.step_done = true;
            }
            Event::Deployed(deployed) => self.deployed.push(deployed.clone()),
            Event::LinksMeasured { links } => self.links.clone_from(links),
            // What a node is, and not what it stands in for.
            Event::NatMeasured(measured) if measured.stands_in => {}
            Event::NatMeasured(measured) => {
                let of_family = match measured.family {
                    Family::Ipv4 => &mut self.nats,
                    Family::Ipv6 => &mut self.firewalls,
                };
                of_family.insert(measured.node.clone(), measured.clone());
            }
            Event::AttemptStarted(start) => {
                self.attempt_ids.insert(start.id.clone());
                self.in_flight.insert(start.id.clone(), start.clone());
            }
            Event::AttemptFinished(attempt) => {
                self.in_flight.remove(&attempt.start.id);
                self.attempts.push(attempt.as_ref().clone());
            }
            Event::AttemptInterrupted { id } => self.interrupt(id),
            Event::Measured(measured) => self.measured.push(measured.as_ref().clone()),
            Event::SuiteFinished { cycle, pass, suite } => {
                self.suites_finished.insert((*cycle, *pass, suite.clone()));
            }
            Event::Finding { detail } => self.findings.push(detail.clone()),
            Event::Judged {
                cycle,
                pass,
                verdict,
                summary,
            } => {
                self.judged = Some(*verdict);
                self.judgement = Some(summary.clone());
                self.failures += u32::from(*verdict == Verdict::Fail);
                self.verdicts.push((*cycle, *pass, *verdict));
            }
            Event::WaitBegan { state, until } => {
                self.enter(*state, at);
                self.pass += 1;
                self.wait_until = Some(*until);
            }
            Event::Completed => {
                self.state = State::Complete;
                self.ended_at = Some(at);
            }
            Event::Stopped { cause, detail } => {
                self.stopped = Some((*cause, detail.clone()));
                self.ended_at = Some(at);
            }
            Event::Resumed => {
                let cause = self.stopped.take().map(|(cause, _)| cause);
                self.starts_over = cause == Some(StopCause::Inconclusive);
                self.ended_at = None;
                self.collected = None;
            }
            Event::Reviewed(review) => {
                self.review = Some((at, review.clone()));
                self.stopped = None;
                self.ended_at = None;
            }
            Event::Environment(environment) => self.environment = environment.clone(),
            Event::Collected(collected) => self.collected = Some(collected.clone()),
        }
    }

    fn enter(&mut self, state: State, at: Timestamp) {
        if matches!(state, State::Fix | State::Restart) {
            self.cycle += 1;
            self.pass = 0;
        }
        if state == State::Fix {
            self.fix_cause = self.build_failure.take();
            self.failure = None;
        }
        self.healthy.clear();
        self.regression = None;
        self.state = state;
        self.entered_at = Some(at);
        self.step_done = false;
        self.judged = None;
        self.review = None;
        self.starts_over = false;
        self.build_failure = None;
        self.wait_until = None;
    }

    /// The first look at a service is what later ones are held against; a host
    /// that booted is looked at anew.
    fn look_at(&mut self, services: &[Health]) {
        for now in services {
            let key = (now.node.clone(), now.unit.clone());
            match self.healthy.get(&key) {
                Some(then) if then.boot == now.boot => {
                    self.regression = self.regression.take().or_else(|| regression(then, now));
                }
                _ => {
                    self.healthy.insert(key, now.clone());
                }
            }
        }
        if let Some(found) = &self.regression
            && !self.findings.contains(found)
        {
            self.findings.push(found.clone());
        }
    }

    fn interrupt(&mut self, id: &AttemptId) {
        if let Some(start) = self.in_flight.remove(id) {
            self.attempts.push(Attempt {
                start,
                outcome: Outcome::Infrastructure {
                    detail: INTERRUPTED.into(),
                },
                observed: Observed::UNMEASURED,
                claimed: ClaimedPath::Unknown,
                rungs: Vec::new(),
                connect_ms: None,
                at_once: 0,
                explanation: None,
                endpoints: crate::attempt::Endpoints::default(),
            });
        }
    }
}
