//! From config, inventory and the interview's answers to a plan.

use std::collections::BTreeSet;
use std::time::Duration;

use model::baseline::Baseline;
use model::cells::{Population, population};
use model::config::{Choice, Config, CriteriaMode, ProofMode};
use model::event::{Plan, PlanNode, StackSource};
use model::expr::{Expr, ExprError};
use model::family::Family;
use model::inventory::{Fleet, Node};
use model::nat::theory::Category;
use model::sample::Sample;
use model::stats::Criterion;
use model::suite::{Suite, SuiteName};

/// What the interview asks, answered.
#[derive(Debug, Clone)]
pub struct Wish {
    pub project: String,
    /// As given, and the suites that it means.
    pub focus: String,
    pub suites: Vec<Suite>,
    pub criteria: CriteriaMode,
    /// For `custom`: what has to hold.
    pub expression: Option<String>,
    /// For `improvement`: what the earlier run had.
    pub baseline: Option<Baseline>,
    pub proof: ProofMode,
    /// `None` leaves what the config says.
    pub soak: Option<Vec<Duration>>,
    pub runs_on: String,
    pub stack: Option<StackSource>,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum PlanError {
    #[error("there is nothing to judge: no ordered pair of tested nodes belongs to {focus}")]
    NothingToJudge { focus: String },
    #[error("the criteria `{mode}` need {what}")]
    Missing {
        mode: &'static str,
        what: &'static str,
    },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Expression(#[from] ExprError),
    #[error(
        "`{measure}` cannot be judged: no ordered pair of tested nodes has this category in {suite}"
    )]
    NoCells { measure: String, suite: SuiteName },
    #[error(
        "`tests.connectivity.sample` is {pairs}, and {suite} has {behaviours} pairs of NAT behaviours to cover: \
         give at least {behaviours}"
    )]
    SmallSample {
        pairs: usize,
        behaviours: usize,
        suite: SuiteName,
    },
}

/// # Errors
/// The wish needs something that does not exist yet, or nothing would be judged.
pub fn plan(config: &Config, module: &str, fleet: &Fleet, wish: &Wish) -> Result<Plan, PlanError> {
    let tests = &config.tests.connectivity;
    let nodes: Vec<PlanNode> = fleet
        .nodes
        .iter()
        .map(|node| plan_node(config, fleet, node))
        .collect();
    let sample = sample(config, fleet, wish, &nodes)?;
    let criteria = match wish.criteria {
        CriteriaMode::Threshold | CriteriaMode::AllPass => targets(config, wish, &nodes)?,
        CriteriaMode::Improvement | CriteriaMode::Custom => Vec::new(),
    };
    let expressions = expressions(wish, &tests.families, &nodes)?;
    if wish.criteria == CriteriaMode::Improvement && wish.baseline.is_none() {
        let what = "an earlier run to compare with";
        return Err(PlanError::Missing {
            mode: "improvement",
            what,
        });
    }
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
        families: tests.families.clone(),
        sample,
        suites: wish.suites.clone(),
        criteria,
        expressions,
        baseline: wish.baseline.clone(),
        budget: tests.budget,
        payload_bytes: tests.payload_bytes,
        timeout_ms: tests.timeout_seconds.saturating_mul(1000),
        cooloff_seconds: tests.nat_cooloff_seconds,
        soak_seconds: soak.iter().map(Duration::as_secs).collect(),
        regression_tolerance: config.soak.regression_tolerance,
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
        nat: node.nat.as_ref().map(|nat| nat.spec.effective()),
        udp: node
            .nat
            .as_ref()
            .map(|nat| nat.spec.udp)
            .unwrap_or_default(),
        inbound: node
            .nat
            .as_ref()
            .map(|nat| nat.spec.inbound)
            .unwrap_or_default(),
        expected_success: node.nat.as_ref().and_then(|nat| nat.expected_success),
        peers: node.peers.unwrap_or(config.deploy.peers_per_node),
        families: [Family::Ipv4, Family::Ipv6]
            .into_iter()
            .filter(|family| node.address_in(*family).is_some())
            .collect(),
    }
}

/// Drawn with the inventory's seed, so that two runs of one plan try the same pairs.
fn sample(
    config: &Config,
    fleet: &Fleet,
    wish: &Wish,
    nodes: &[PlanNode],
) -> Result<Option<Sample>, PlanError> {
    let Some(wanted) = config.tests.connectivity.sample else {
        return Ok(None);
    };
    let pairs = usize::try_from(wanted).unwrap_or(usize::MAX);
    let mut is_needed = false;
    for suite in &wish.suites {
        let all = population(nodes, &config.tests.connectivity.families, suite);
        if pairs < all.pairs.min(all.behaviours) {
            return Err(PlanError::SmallSample {
                pairs,
                behaviours: all.behaviours,
                suite: suite.name.clone(),
            });
        }
        is_needed |= pairs < all.pairs;
    }
    Ok(is_needed.then_some(Sample {
        pairs,
        seed: fleet.wan.seed,
    }))
}

fn targets(config: &Config, wish: &Wish, nodes: &[PlanNode]) -> Result<Vec<Criterion>, PlanError> {
    let mut chosen = Vec::new();
    let mut judged = BTreeSet::new();
    for suite in &wish.suites {
        // The same question of the same cells, asked twice, would err twice as often.
        let mut of_categories = of_categories(config, suite, nodes);
        of_categories.retain(|criterion| judged.insert(criterion.name.clone()));
        chosen.extend(of_categories);
        chosen.extend(of_measures(suite));
    }
    if wish.criteria == CriteriaMode::AllPass {
        for criterion in &mut chosen {
            criterion.target = 100.0;
        }
    }
    if chosen.is_empty() {
        let focus = wish.focus.clone();
        return Err(PlanError::NothingToJudge { focus });
    }
    Ok(chosen)
}

/// The user's own criteria, every word of which must be measured on this fleet.
fn expressions(
    wish: &Wish,
    families: &[Family],
    nodes: &[PlanNode],
) -> Result<Vec<String>, PlanError> {
    if wish.criteria != CriteriaMode::Custom {
        return Ok(Vec::new());
    }
    let what = "an expression";
    let text = wish.expression.clone();
    let text = text.ok_or(PlanError::Missing {
        mode: "custom",
        what,
    })?;
    let expr = Expr::read(&text, &wish.suites)?;
    for comparison in expr.comparisons() {
        let suite = wish.suites.iter().find(|s| s.name == comparison.suite);
        let there = suite.map(|suite| population(nodes, families, suite).categories);
        let (measure, family) = Family::of_measure(&comparison.measure);
        let category = Category::ALL
            .into_iter()
            .find(|category| category.to_string() == measure);
        if category.is_some_and(|c| !there.unwrap_or_default().contains(&(family, c))) {
            return Err(PlanError::NoCells {
                measure: comparison.measure.clone(),
                suite: comparison.suite.clone(),
            });
        }
    }
    Ok(vec![text])
}

/// The config's targets, of the categories that this suite has cells of, in each family.
fn of_categories(config: &Config, suite: &Suite, nodes: &[PlanNode]) -> Vec<Criterion> {
    let tests = &config.tests.connectivity;
    let Population { categories, .. } = population(nodes, &tests.families, suite);
    let there: BTreeSet<String> = categories
        .iter()
        .map(|(family, category)| family.measure(&category.to_string()))
        .collect();
    let named = tests.success_criteria.named().into_iter();
    let targets: Vec<_> = named.zip(tests.margins.named()).collect();
    let in_families = tests.families.iter().flat_map(|family| {
        targets
            .iter()
            .map(|((name, target), (_, margin))| (family.measure(name), *target, *margin))
    });
    in_families
        .filter(|(name, ..)| there.contains(name))
        .map(|(name, target, margin)| Criterion {
            suite: suite.name.clone(),
            name,
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

fn word<T: Choice + PartialEq>(choice: T) -> &'static str {
    T::ALL
        .iter()
        .find(|(value, ..)| *value == choice)
        .map_or("", |(_, word, _)| word)
}

fn word_of_role(node: &Node) -> String {
    node.role.to_string()
}
