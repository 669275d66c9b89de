//! From config, inventory and the interview's answers to a plan.

use std::collections::BTreeSet;
use std::time::Duration;

use model::attempt::{Cell, Pair};
use model::config::{Choice, Config, CriteriaMode, ProofMode};
use model::event::{Plan, PlanNode, StackSource};
use model::inventory::{Fleet, Node};
use model::nat::theory::{Category, category, predict};
use model::stats::Criterion;
use model::suite::{Driver, Suite};

/// What the interview asks, answered.
#[derive(Debug, Clone)]
pub struct Wish {
    pub project: String,
    /// As given, and the suites that it means.
    pub focus: String,
    pub suites: Vec<Suite>,
    pub criteria: CriteriaMode,
    pub proof: ProofMode,
    /// `None` leaves what the config says.
    pub soak: Option<Vec<Duration>>,
    pub runs_on: String,
    pub stack: Option<StackSource>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotBuilt(String);

/// # Errors
/// The wish needs something that does not exist yet, or nothing would be judged.
pub fn plan(config: &Config, module: &str, fleet: &Fleet, wish: &Wish) -> Result<Plan, NotBuilt> {
    let tests = &config.tests.connectivity;
    let nodes: Vec<PlanNode> = fleet.nodes.iter().map(|n| plan_node(config, n)).collect();
    let criteria = criteria(config, wish, &nodes)?;
    let soak = wish.soak.clone().unwrap_or_else(|| config.soak_durations());
    Ok(Plan {
        project: wish.project.clone(),
        module: module.to_owned(),
        focus: wish.focus.clone(),
        criteria_mode: word(wish.criteria).into(),
        proof_mode: word(wish.proof).into(),
        fleet: fleet.name.clone(),
        runs_on: wish.runs_on.clone(),
        nodes,
        suites: wish.suites.clone(),
        criteria,
        budget: tests.budget,
        payload_bytes: tests.payload_bytes,
        timeout_ms: tests.timeout_seconds.saturating_mul(1000),
        cooloff_seconds: tests.nat_cooloff_seconds,
        soak_seconds: soak.iter().map(Duration::as_secs).collect(),
        stack: wish.stack.clone(),
        harness_version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// Every ordered pair of tested nodes that a suite has attempts for, each with
/// its category and prediction by the labels of the plan.
pub fn cells(nodes: &[PlanNode], suite: &Suite) -> Vec<Cell> {
    let tested: Vec<&PlanNode> = nodes.iter().filter(|n| n.tested).collect();
    let pairs = tested
        .iter()
        .flat_map(|from| tested.iter().map(move |to| (*from, *to)));
    pairs
        .filter(|(from, to)| from.name != to.name)
        .map(|(from, to)| Cell {
            pair: Pair {
                from: from.name.clone(),
                to: to.name.clone(),
            },
            category: category(from.nat, to.nat),
            predicted: predict(from.nat, to.nat),
        })
        .filter(|cell| match suite.driver {
            Driver::Matrix => true,
            Driver::NatTraversal => cell.category != Category::Direct,
            Driver::Throughput | Driver::Steps(_) => false,
        })
        .collect()
}

fn plan_node(config: &Config, node: &Node) -> PlanNode {
    PlanNode {
        name: node.name.clone(),
        role: word_of_role(node),
        region: node.region.clone(),
        tested: node.is_tested() && config.deploy.nodes.contains(node),
        nat: node.nat.as_ref().map(|nat| nat.spec.behaviour),
        expected_success: node.nat.as_ref().and_then(|nat| nat.expected_success),
    }
}

fn criteria(
    config: &Config,
    wish: &Wish,
    nodes: &[PlanNode],
) -> Result<Vec<Criterion>, NotBuilt> {
    if !matches!(
        wish.criteria,
        CriteriaMode::Threshold | CriteriaMode::AllPass
    ) {
        return Err(not_built(
            "criteria",
            word(wish.criteria),
            "threshold and all-pass",
        ));
    }
    let mut chosen = Vec::new();
    for suite in &wish.suites {
        chosen.extend(of_categories(config, suite, nodes));
        chosen.extend(of_measures(suite));
    }
    if wish.criteria == CriteriaMode::AllPass {
        for criterion in &mut chosen {
            criterion.target = 100.0;
        }
    }
    if chosen.is_empty() {
        return Err(NotBuilt(format!(
            "there is nothing to judge: no ordered pair of tested nodes belongs to {}",
            wish.focus
        )));
    }
    Ok(chosen)
}

/// The config's targets, of the categories that this suite has cells of.
fn of_categories(config: &Config, suite: &Suite, nodes: &[PlanNode]) -> Vec<Criterion> {
    let cells = cells(nodes, suite);
    let there: BTreeSet<String> = cells.iter().map(|cell| cell.category.to_string()).collect();
    let tests = &config.tests.connectivity;
    let targets = tests
        .success_criteria
        .named()
        .into_iter()
        .zip(tests.margins.named());
    targets
        .filter(|((name, _), _)| there.contains(*name))
        .map(|((name, target), (_, margin))| Criterion {
            suite: suite.name.clone(),
            name: name.to_owned(),
            target,
            margin,
        })
        .collect()
}

/// Rates that come with a target of their own.
fn of_measures(suite: &Suite) -> Vec<Criterion> {
    let with_target = suite.measures.iter().filter_map(|measure| {
        Some(Criterion {
            suite: suite.name.clone(),
            name: measure.name.clone(),
            target: measure.target?,
            margin: measure.margin?,
        })
    });
    with_target.collect()
}

fn not_built(what: &str, given: &str, built: &str) -> NotBuilt {
    NotBuilt(format!("{what} `{given}` is not built yet; {built} are"))
}

fn word<T: Choice + PartialEq>(choice: T) -> &'static str {
    T::ALL
        .iter()
        .find(|(value, ..)| *value == choice)
        .map_or("", |(_, word, _)| word)
}

fn word_of_role(node: &Node) -> String {
    node.role.to_string()
}
