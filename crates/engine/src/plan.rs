//! From config, inventory and the interview's answers to a plan.

use std::collections::BTreeSet;
use std::time::Duration;

use model::attempt::{Cell, criterion_name};
use model::cells::Wanted;
use model::config::{Choice, Config, CriteriaMode, Focus, ProofMode};
use model::event::{Plan, PlanNode, StackSource};
use model::family::Family;
use model::inventory::{Fleet, Node};
use model::sample::Sample;
use model::stats::Criterion;

/// What the interview asks, answered.
#[derive(Debug, Clone)]
pub struct Wish {
    pub project: String,
    pub focus: Focus,
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
    let nodes: Vec<PlanNode> = fleet
        .nodes
        .iter()
        .map(|n| plan_node(config, fleet, n))
        .collect();
    let wanted = Wanted {
        nodes: &nodes,
        families: &tests.families,
        focus: wish.focus,
    };
    let sample = sample(config, fleet, wanted)?;
    let criteria = criteria(config, wish, &wanted.cells(sample))?;
    let soak = wish.soak.clone().unwrap_or_else(|| config.soak_durations());
    Ok(Plan {
        project: wish.project.clone(),
        module: module.to_owned(),
        focus: word(wish.focus).into(),
        criteria_mode: word(wish.criteria).into(),
        proof_mode: word(wish.proof).into(),
        fleet: fleet.name.clone(),
        runs_on: wish.runs_on.clone(),
        families: tests.families.clone(),
        nodes,
        sample,
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

fn plan_node(config: &Config, fleet: &Fleet, node: &Node) -> PlanNode {
    PlanNode {
        name: node.name.clone(),
        role: word_of_role(node),
        region: node.region.clone(),
        place: fleet.regions.get(&node.region).copied(),
        tested: node.is_tested() && config.deploy.nodes.contains(node),
        nat: node.nat.as_ref().map(|nat| nat.spec.behaviour),
        expected_success: node.nat.as_ref().and_then(|nat| nat.expected_success),
        ipv6: node.address_in(Family::Ipv6).is_some(),
        peers: node.peers.unwrap_or(config.deploy.peers_per_node),
    }
}

/// Drawn with the inventory's seed, so that two runs of one plan try the same pairs.
fn sample(config: &Config, fleet: &Fleet, plan: Wanted<'_>) -> Result<Option<Sample>, NotBuilt> {
    let Some(wanted) = config.tests.connectivity.sample else {
        return Ok(None);
    };
    let pairs = usize::try_from(wanted).unwrap_or(usize::MAX);
    let (of, kinds) = plan.count();
    if pairs >= of {
        return Ok(None);
    }
    if pairs < kinds {
        return Err(NotBuilt(format!(
            "tests.connectivity.sample is {pairs}, and there are {kinds} pairs of NAT behaviours to cover: \
             give at least {kinds}"
        )));
    }
    Ok(Some(Sample {
        pairs,
        of,
        seed: fleet.wan.seed,
    }))
}

fn criteria(config: &Config, wish: &Wish, cells: &[Cell]) -> Result<Vec<Criterion>, NotBuilt> {
    if !matches!(wish.focus, Focus::Connectivity | Focus::NatTraversal) {
        return Err(not_built(
            "focus",
            word(wish.focus),
            "connectivity and nat-traversal",
        ));
    }
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
    let tests = &config.tests.connectivity;
    let there: BTreeSet<(Family, String)> = cells
        .iter()
        .map(|cell| (cell.pair.family, cell.category.to_string()))
        .collect();
    let named = tests.success_criteria.named().into_iter();
    let targets: Vec<_> = named.zip(tests.margins.named()).collect();
    let families = tests.families.iter();
    let chosen: Vec<Criterion> = families
        .flat_map(|family| targets.iter().map(move |target| (*family, *target)))
        .filter(|(family, ((name, _), _))| there.contains(&(*family, (*name).to_owned())))
        .map(|(family, ((name, target), (_, margin)))| Criterion {
            name: criterion_name(name, family),
            target: if wish.criteria == CriteriaMode::AllPass {
                100.0
            } else {
                target
            },
            margin,
        })
        .collect();
    if chosen.is_empty() {
        return Err(NotBuilt(format!(
            "there is nothing to judge: no ordered pair of tested nodes belongs to {}",
            word(wish.focus)
        )));
    }
    Ok(chosen)
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
