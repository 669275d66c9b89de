//! From a run, and what was collected after it, to the proof.

use std::collections::BTreeMap;

use crate::attempt::{Attempt, Cell, Counted, Matrix, ObservedPath};
use crate::cells::{cells, focus_of};
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
    let cells = cells(&plan.nodes, focus_of(plan));
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
            .map(|cell| matrix_cell(run, cell, &judged, (cycle, pass)))
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
        Some((StopCause::Failed | StopCause::Parked, _)) if judged == Verdict::Fail => {
            (Verdict::Fail, summary)
        }
        Some((StopCause::Failed | StopCause::Parked, detail)) => (Verdict::Fail, detail.clone()),
        Some((StopCause::Infrastructure | StopCause::Requested, detail)) => {
            (Verdict::Inconclusive, detail.clone())
        }
    }
}

fn matrix_cell(run: &Run, cell: &Cell, judged: &[&Attempt], test: (u32, u32)) -> MatrixCell {
    let attempts: Vec<&Attempt> = judged
        .iter()
        .copied()
        .filter(|a| a.start.cell.pair == cell.pair)
        .collect();
    let first = attempts.first();
    let counted = |what| attempts.iter().filter(|a| a.verdict() == what).count() as u64;
    let successes = counted(Counted::Success);
    let reference = run.attempts.iter().find(|a| {
        a.start.matrix == Matrix::Reference
            && a.start.cell.pair == cell.pair
            && (a.start.cycle, a.start.pass) == test
    });
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
    let ends = [&cell.pair.from, &cell.pair.to];
    let degraded = ends
        .into_iter()
        .find(|name| run.degraded.contains_key(*name))?;
    Some(format!("not tried: {degraded} took no part"))
}

fn proof_node(run: &Run, plan: &Plan, node: &PlanNode) -> ProofNode {
    let mut services = BTreeMap::new();
    let (mut digest, mut stack) = (None, None);
    for deployed in run.deployed.iter().filter(|d| d.node == node.name) {
        services.insert(deployed.unit.clone(), deployed.digest.clone());
        if deployed
            .unit
            .ends_with(&format!("-{}.service", plan.module))
        {
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
        digest,
        services,
        stack,
        kernel: facts.map(|f| f.kernel.clone()),
    }
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

/// Degraded nodes first: nobody may overlook that they are missing.
fn findings(run: &Run) -> Vec<String> {
    let degraded = run
        .degraded
        .iter()
        .map(|(node, reason)| format!("{node} took no part: {reason}"));
    degraded.chain(run.findings.iter().cloned()).collect()
}
