//! From a journal to the proof. Nothing else goes in.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::attempt::{Attempt, Cell, Counted, Matrix, ObservedPath, Pair};
use crate::cells::cells;
use crate::event::{Entry, Event, EvidenceFile, EvidenceKind, Plan, PlanNode, StopCause};
use crate::judge;
use crate::measure::TELLING_AT_ONCE;
use crate::measure::summary::summaries;
use crate::nat::{Udp, describe};
use crate::proof::behaviours;
use crate::proof::{
    Evidence, JournalMark, MatrixCell, NodeNatProof, PassResult, Proof, ProofNode, Reviewed,
    SCHEMA, TimelineEntry, WanReport,
};
use crate::protocol::ClaimedPath;
use crate::run::{IllegalEvent, Run, State};
use crate::stats::Verdict;
use crate::suite::{Suite, SuiteName};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofError {
    #[error("the journal has no plan: nothing was begun")]
    NoPlan,
    #[error("entry {seq} of the journal cannot follow on those before it")]
    Illegal { seq: u64, source: IllegalEvent },
}

/// A run, and what its fold forgets but a proof tells.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub run: Run,
    timeline: Vec<TimelineEntry>,
    passes: Vec<PassResult>,
    last: Option<Timestamp>,
}

impl History {
    /// All of a journal.
    ///
    /// # Errors
    /// An entry cannot follow on those before it.
    pub fn of(entries: &[Entry]) -> Result<Self, ProofError> {
        let mut history = Self::default();
        for entry in entries {
            history.add(entry)?;
        }
        Ok(history)
    }

    /// # Errors
    /// The entry cannot follow on those before it; nothing has changed.
    pub fn add(&mut self, entry: &Entry) -> Result<(), ProofError> {
        self.run
            .apply(entry.at, &entry.event)
            .map_err(|source| ProofError::Illegal {
                seq: entry.seq,
                source,
            })?;
        self.last = Some(entry.at);
        let state = match &entry.event {
            Event::Confirmed(_) => Some(State::Interview),
            Event::Entered { state } | Event::WaitBegan { state, .. } => Some(*state),
            Event::Completed => Some(State::Complete),
            Event::Stopped { .. } => Some(State::Stopped),
            Event::Resumed => Some(self.run.state),
            _ => None,
        };
        self.timeline.extend(state.map(|state| TimelineEntry {
            state,
            at: entry.at,
            cycle: self.run.cycle,
            pass: self.run.pass,
        }));
        if let Event::Judged { cycle, pass, .. } = &entry.event {
            self.judged(*cycle, *pass, entry.at);
        }
        Ok(())
    }

    fn judged(&mut self, cycle: u32, pass: u32, at: Timestamp) {
        let Some(plan) = &self.run.plan else { return };
        let judgement = judge::judge_test(plan, &self.run, cycle, pass);
        self.passes.push(PassResult {
            cycle,
            pass,
            at,
            verdict: judgement.verdict,
            summary: judgement.summary,
            criteria: judgement.criteria,
        });
    }

    /// Everything that the journal says so far, and nothing else.
    ///
    /// # Errors
    /// There is no plan yet.
    pub fn proof(&self, journal: JournalMark) -> Result<Proof, ProofError> {
        let plan = self.run.plan.as_ref().ok_or(ProofError::NoPlan)?;
        let last = self.last.ok_or(ProofError::NoPlan)?;
        Ok(build(self, plan, journal, last))
    }
}

fn build(history: &History, plan: &Plan, journal: JournalMark, last: Timestamp) -> Proof {
    let run = &history.run;
    let (cycle, pass) = last_test(run);
    let yielded = run.yielded(cycle, pass);
    let judgement = judge::judge_test(plan, run, cycle, pass);
    let (verdict, summary) = verdict(run, judgement.verdict, judgement.summary);
    let collected = run.collected.clone().unwrap_or_default();
    let cells = plan.suites.iter().flat_map(|suite| {
        let cells = cells(plan, suite).into_iter();
        cells.map(move |cell| (suite, cell))
    });
    let tried = Tried::new(run, &yielded.attempts, (cycle, pass));
    let mut matrix: Vec<MatrixCell> = cells
        .map(|(suite, cell)| matrix_cell(run, suite, &cell, &tried))
        .collect();
    let late = collected.wan.filter(|wan| !wan.was_in_time());
    if late.is_some() {
        for cell in &mut matrix {
            cell.connect_ms = None;
        }
    }
    Proof {
        schema: SCHEMA,
        verdict,
        summary,
        project: plan.project.clone(),
        focus: plan.focus.clone(),
        started_at: run.started_at.unwrap_or(last),
        ended_at: run.ended_at.unwrap_or(last),
        state: if run.stopped.is_some() {
            State::Stopped.to_string()
        } else {
            run.state.to_string()
        },
        criteria: judgement.criteria,
        matrix,
        attempts: run.attempts.clone(),
        behaviours: behaviours::pairs(plan, &yielded),
        measures: summaries(&plan.suites, &yielded),
        measured: run.measured.clone(),
        nodes: plan
            .nodes
            .iter()
            .map(|node| proof_node(run, plan, node))
            .collect(),
        findings: findings(run, late),
        plan: plan.clone(),
        builds: run.builds.clone(),
        wan: collected.wan,
        links: run.links.clone(),
        evidence: evidence(run, collected.files),
        timeline: history.timeline.clone(),
        passes: history.passes.clone(),
        environment: run.environment.clone(),
        review: run
            .review
            .clone()
            .map(|(at, review)| Reviewed { at, review }),
        journal,
    }
}

fn evidence(run: &Run, files: Vec<EvidenceFile>) -> Evidence {
    let of = |kind| {
        let chosen = files.iter().filter(move |file| file.kind == kind);
        chosen.map(|file| file.path.clone())
    };
    let fix_commits = run.fixes().filter_map(|fix| fix.commit.clone()).collect();
    Evidence {
        captures: of(EvidenceKind::Capture).collect(),
        logs: of(EvidenceKind::Log).collect(),
        metrics: of(EvidenceKind::Metrics).next(),
        fix_commits,
        files: files.clone(),
    }
}

/// The newest TEST that tried the stack.
pub fn last_test(run: &Run) -> (u32, u32) {
    let tried = run
        .attempts
        .iter()
        .filter(|a| a.start.matrix == Matrix::Stack);
    let measured = run.measured.iter().map(|m| (m.cycle, m.pass));
    tried
        .map(|a| (a.start.cycle, a.start.pass))
        .chain(measured)
        .max()
        .unwrap_or((run.cycle, run.pass))
}

/// The data's verdict, unless the run ended before the data could have one.
fn verdict(run: &Run, judged: Verdict, summary: String) -> (Verdict, String) {
    match &run.stopped {
        None | Some((StopCause::Inconclusive, _)) => (judged, summary),
        Some((StopCause::Failed | StopCause::Parked, _)) if judged == Verdict::Fail => {
            (Verdict::Fail, summary)
        }
        Some((StopCause::Failed | StopCause::Parked, detail)) => (Verdict::Fail, detail.clone()),
        Some((StopCause::Rejected, detail)) => (Verdict::Fail, detail.clone()),
        Some((
            StopCause::Infrastructure | StopCause::Requested | StopCause::Unconfirmed,
            detail,
        )) => (Verdict::Inconclusive, detail.clone()),
    }
}

/// One TEST's attempts by their pairs.
struct Tried<'a> {
    stack: HashMap<(&'a SuiteName, &'a Pair), Vec<&'a Attempt>>,
    reference: HashMap<&'a Pair, &'a Attempt>,
}

impl<'a> Tried<'a> {
    fn new(run: &'a Run, judged: &[&'a Attempt], test: (u32, u32)) -> Self {
        let mut tried = Self {
            stack: HashMap::new(),
            reference: HashMap::new(),
        };
        for attempt in judged {
            let start = &attempt.start;
            let of_pair = tried.stack.entry((&start.suite, &start.cell.pair));
            of_pair.or_default().push(attempt);
        }
        let references = run.attempts.iter().filter(|a| {
            a.start.matrix == Matrix::Reference && (a.start.cycle, a.start.pass) == test
        });
        for attempt in references {
            let pair = &attempt.start.cell.pair;
            tried.reference.entry(pair).or_insert(attempt);
        }
        tried
    }
}

fn matrix_cell(run: &Run, suite: &Suite, cell: &Cell, tried: &Tried<'_>) -> MatrixCell {
    let attempts = tried.stack.get(&(&suite.name, &cell.pair));
    let attempts = attempts.map_or(&[][..], Vec::as_slice);
    let first = attempts.first();
    let counted = |what| attempts.iter().filter(|a| a.verdict() == what).count() as u64;
    let successes = counted(Counted::Success);
    let reference = tried.reference.get(&cell.pair.without_peers());
    MatrixCell {
        suite: suite.name.clone(),
        pair: cell.pair.clone(),
        category: cell.category,
        predicted: cell.predicted,
        observed: first.map_or(ObservedPath::Unmeasured, |a| a.observed.path),
        claimed: first.map_or(ClaimedPath::Unknown, |a| a.claimed),
        attempts: successes + counted(Counted::Failure),
        successes,
        reference: reference.map(|a| a.observed.path),
        connect_ms: first
            .filter(|a| a.at_once <= TELLING_AT_ONCE)
            .and_then(|a| a.connect_ms),
        failure: attempts
            .iter()
            .find_map(|a| judge::why(a))
            .or_else(|| absent(run, cell)),
    }
}

/// Why a cell was not tried, where a node is to blame.
fn absent(run: &Run, cell: &Cell) -> Option<String> {
    let degraded = cell
        .pair
        .nodes()
        .into_iter()
        .find(|name| run.degraded.contains_key(*name))?;
    Some(format!("not tried: {degraded} took no part"))
}

fn proof_node(run: &Run, plan: &Plan, node: &PlanNode) -> ProofNode {
    let mut services = BTreeMap::new();
    let (mut digest, mut stack) = (None, None);
    for deployed in run.deployed.iter().filter(|d| d.node == node.name) {
        services.insert(deployed.unit.clone(), deployed.digest.clone());
        if is_tester(&deployed.unit, &plan.module) {
            digest = Some(deployed.digest.clone());
            stack.clone_from(&deployed.stack);
        }
    }
    let facts = run.reached.get(&node.name);
    ProofNode {
        name: node.name.clone(),
        role: node.role.clone(),
        region: node.region.clone(),
        reached: match run.degraded.get(&node.name) {
            Some(reason) => reason.clone(),
            None if facts.is_some() => "reached".into(),
            None => "not tried".into(),
        },
        nat: nat_proof(run, node),
        firewall: firewall_proof(run, node),
        digest,
        services,
        stack,
        kernel: facts.map(|f| f.kernel.clone()),
    }
}

/// `…-quic-test.service`, or a peer of several: `…-quic-test@2.service`.
fn is_tester(unit: &str, module: &str) -> bool {
    let name = unit.trim_end_matches(".service");
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    name.ends_with(&format!("-{module}"))
}

fn nat_proof(run: &Run, node: &PlanNode) -> NodeNatProof {
    let measured = run.nats.get(&node.name);
    NodeNatProof {
        labelled: node.nat.map_or_else(|| "none".into(), describe),
        measured: measured.map_or_else(|| "not measured".into(), |m| m.certificate.describe()),
        evidence: measured
            .map(|m| m.certificate.evidence.clone())
            .unwrap_or_default(),
    }
}

fn firewall_proof(run: &Run, node: &PlanNode) -> Option<NodeNatProof> {
    let certificate = &run.firewalls.get(&node.name)?.certificate;
    Some(NodeNatProof {
        labelled: match node.udp {
            Udp::Open => "a firewall without translation".into(),
            Udp::Blocked => "no UDP gets through".into(),
        },
        measured: certificate.describe(),
        evidence: certificate.evidence.clone(),
    })
}

/// Degraded nodes first: nobody may overlook that they are missing.
fn findings(run: &Run, late: Option<WanReport>) -> Vec<String> {
    let late = late.map(|wan| {
        format!(
            "connect times are not judged: the emulated internet was late, p99 {:.1} ms",
            wan.lateness_p99_ms
        )
    });
    let degraded = run
        .degraded
        .iter()
        .map(|(node, reason)| format!("{node} took no part: {reason}"));
    let interrupted = run.attempts.iter().filter(|a| a.was_interrupted()).count();
    let interrupted = (interrupted > 0).then(|| {
        format!("{interrupted} attempts ended with the orchestrator, and count for nothing")
    });
    degraded
        .chain(run.findings.iter().cloned())
        .chain(late)
        .chain(interrupted)
        .collect()
}
