//! From a run, and what was collected after it, to the proof.

use std::collections::{BTreeMap, HashMap};

use crate::attempt::{Attempt, Cell, Counted, Matrix, ObservedPath, Pair};
use crate::cells::cells;
use crate::config::{Choice, ProofMode};
use crate::event::{Plan, PlanNode, StopCause};
use crate::judge;
use crate::nat::describe;
use crate::proof::{Evidence, MatrixCell, NodeNatProof, Proof, ProofNode, SCHEMA, WanReport};
use crate::protocol::ClaimedPath;
use crate::run::Run;
use crate::stats::Verdict;
use jiff::Timestamp;

/// With more attempts than these at once, they wait for the processor and their
/// connect times say little of the network.
const TELLING_AT_ONCE: u32 = 4;

/// What is not in the journal.
#[derive(Debug, Default)]
pub struct Collected {
    pub evidence: Evidence,
    pub wan: Option<WanReport>,
}

pub fn mode_of(plan: &Plan) -> ProofMode {
    ProofMode::parse(&plan.proof_mode).unwrap_or(ProofMode::AllEvidence)
}

pub fn build(run: &Run, plan: &Plan, collected: Collected, now: Timestamp) -> Proof {
    let (cycle, pass) = last_test(run);
    let judged = run.judged_attempts(cycle, pass);
    let judgement = judge::judge(plan, &judged);
    let (verdict, summary) = verdict(run, judgement.verdict, judgement.summary);
    let cells = cells(plan);
    let tried = Tried::new(run, &judged, (cycle, pass));
    Proof {
        schema: SCHEMA,
        verdict,
        summary,
        project: plan.project.clone(),
        focus: plan.focus.clone(),
        started_at: run.started_at.unwrap_or(now),
        ended_at: run.ended_at.unwrap_or(now),
        state: if run.stopped.is_some() {
            "STOPPED".into()
        } else {
            run.state.to_string()
        },
        criteria: judgement.criteria,
        matrix: cells
            .iter()
            .map(|cell| matrix_cell(run, cell, &tried))
            .collect(),
        attempts: run.attempts.clone(),
        nodes: plan
            .nodes
            .iter()
            .map(|node| proof_node(run, plan, node))
            .collect(),
        findings: findings(run),
        plan: plan.clone(),
        builds: run.builds.clone(),
        wan: collected.wan,
        evidence: collected.evidence,
    }
}

/// The newest TEST that tried the stack.
pub fn last_test(run: &Run) -> (u32, u32) {
    let tried = run
        .attempts
        .iter()
        .filter(|a| a.start.matrix == Matrix::Stack);
    tried
        .map(|a| (a.start.cycle, a.start.pass))
        .max()
        .unwrap_or((run.cycle, run.pass))
}

/// The data's verdict, unless the run ended before the data could have one.
fn verdict(run: &Run, judged: Verdict, summary: String) -> (Verdict, String) {
    match &run.stopped {
        None | Some((StopCause::Inconclusive, _)) => (judged, summary),
        Some((StopCause::Failed, _)) if judged == Verdict::Fail => (Verdict::Fail, summary),
        Some((StopCause::Failed, detail)) => (Verdict::Fail, detail.clone()),
        Some((StopCause::Infrastructure | StopCause::Requested, detail)) => {
            (Verdict::Inconclusive, detail.clone())
        }
    }
}

/// One TEST's attempts by their pairs.
struct Tried<'a> {
    stack: HashMap<&'a Pair, Vec<&'a Attempt>>,
    reference: HashMap<&'a Pair, &'a Attempt>,
}

impl<'a> Tried<'a> {
    fn new(run: &'a Run, judged: &[&'a Attempt], test: (u32, u32)) -> Self {
        let mut tried = Self {
            stack: HashMap::new(),
            reference: HashMap::new(),
        };
        for attempt in judged {
            let pair = &attempt.start.cell.pair;
            tried.stack.entry(pair).or_default().push(attempt);
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

fn matrix_cell(run: &Run, cell: &Cell, tried: &Tried<'_>) -> MatrixCell {
    let attempts = tried.stack.get(&cell.pair).map_or(&[][..], Vec::as_slice);
    let first = attempts.first();
    let counted = |what| attempts.iter().filter(|a| a.verdict() == what).count() as u64;
    let successes = counted(Counted::Success);
    let reference = tried.reference.get(&cell.pair.without_peers());
    MatrixCell {
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
    let measured = run.firewalls.get(&node.name)?;
    Some(NodeNatProof {
        labelled: "a stateful firewall without translation".into(),
        measured: measured.certificate.describe(),
        evidence: measured.certificate.evidence.clone(),
    })
}

/// Degraded nodes first: nobody may overlook that they are missing.
fn findings(run: &Run) -> Vec<String> {
    let degraded = run
        .degraded
        .iter()
        .map(|(node, reason)| format!("{node} took no part: {reason}"));
    degraded.chain(run.findings.iter().cloned()).collect()
}
