//! From attempts to a verdict. Anybody with the journal comes to the same one.

mod expression;
mod improvement;

use std::collections::{BTreeMap, BTreeSet};

use crate::attempt::{Attempt, Counted, Outcome, Pair};
use crate::event::Plan;
use crate::explain::Cause;
use crate::expr::{Expr, Of};
use crate::measure::{Place, Trial, Yield};
use crate::nat::theory::Prediction;
use crate::proof::CriterionResult;
use crate::regression;
use crate::run::Run;
use crate::stats::compare::Proportion;
use crate::stats::{Criterion, INFRASTRUCTURE_CAP, Standing, Verdict, interval, pooling};
use crate::suite::{SuiteName, told_apart};

/// What a TEST came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// What decided, in a sentence.
    pub summary: String,
    pub criteria: Vec<CriterionResult>,
    /// Pairs of nodes that theory calls always and that failed every attempt.
    pub dead_cells: Vec<Pair>,
}

/// Judges what one TEST yielded.
pub fn judge(plan: &Plan, yielded: &Yield<'_>) -> Judgement {
    let mut criteria: Vec<_> = plan
        .criteria
        .iter()
        .map(|c| rate(c, plan.budget, &yielded.trials(&c.suite, &c.name)).result)
        .collect();
    for text in &plan.expressions {
        criteria.extend(judge_expression(text, plan, yielded));
    }
    let mut verdict = criteria.iter().map(|c| c.verdict).reduce(Verdict::and);
    if let Some(baseline) = &plan.baseline {
        let rows = improvement::judge(baseline, &plan.suites, yielded);
        let compared = improvement::together(&rows);
        verdict = Some(verdict.map_or(compared, |v| v.and(compared)));
        criteria.extend(rows);
    }
    tell_apart(&mut criteria);
    let mut verdict = verdict.unwrap_or(Verdict::Inconclusive);
    let dead_cells = dead_cells(&yielded.attempts);
    if !dead_cells.is_empty() {
        verdict = Verdict::Fail;
    }
    Judgement {
        verdict,
        summary: summary(verdict, &criteria, &dead_cells),
        criteria,
        dead_cells,
    }
}

/// Whoever looks a criterion up has its name alone.
fn tell_apart(criteria: &mut [CriterionResult]) {
    let all: Vec<(SuiteName, String)> = criteria
        .iter()
        .map(|c| (c.suite.clone(), c.name.clone()))
        .collect();
    for c in criteria {
        let others = all.iter().map(|(suite, name)| (suite, name.as_str()));
        c.name = told_apart(&c.suite, &c.name, others);
    }
}

/// Judges a TEST of a run: what it yielded, and whether that has become worse since
/// the pass before.
pub fn judge_test(plan: &Plan, run: &Run, cycle: u32, pass: u32) -> Judgement {
    let now = run.yielded(cycle, pass);
    let mut judgement = judge(plan, &now);
    let before = pass.checked_sub(1).map(|before| run.yielded(cycle, before));
    let fell = before.and_then(|before| {
        regression::between(&plan.criteria, plan.regression_tolerance, &before, &now)
    });
    if let Some(fell) = fell.filter(|_| judgement.verdict != Verdict::Fail) {
        judgement.verdict = Verdict::Fail;
        judgement.summary = fell;
    }
    judgement
}

/// A plan is only made with expressions that can be read; one that was edited
/// afterwards decides nothing.
fn judge_expression(text: &str, plan: &Plan, yielded: &Yield<'_>) -> Vec<CriterionResult> {
    match Expr::read(text, &plan.suites) {
        Ok(expr) => expression::judge(&expr, plan.budget, yielded),
        Err(error) => vec![CriterionResult {
            name: text.to_owned(),
            asks: text.to_owned(),
            reason: error.to_string(),
            ..CriterionResult::default()
        }],
    }
}

/// What a suite should still try, for the criteria to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// A category of attempts, or a measure.
    pub measure: String,
    /// How many more, if all went well.
    pub more: u64,
    /// How many there are.
    pub had: usize,
}

/// What is still open about a suite. Nothing, where the verdict stands already.
pub fn wants(plan: &Plan, yielded: &Yield<'_>, suite: &SuiteName) -> Vec<Want> {
    let mut wants = Vec::new();
    for c in plan.criteria.iter().filter(|c| c.suite == *suite) {
        let trials = yielded.trials(&c.suite, &c.name);
        wants.extend(rate(c, plan.budget, &trials).more.map(|more| Want {
            measure: c.name.clone(),
            more,
            had: trials.len(),
        }));
    }
    for expr in plan
        .expressions
        .iter()
        .filter_map(|text| Expr::read(text, &plan.suites).ok())
    {
        let open = expression::open(&expr, plan.budget, yielded);
        wants.extend(
            open.into_iter()
                .filter(|(c, _)| c.suite == *suite)
                .map(|(c, more)| Want {
                    measure: c.measure.clone(),
                    more,
                    had: match c.of {
                        Of::Rate => yielded.trials(suite, &c.measure).len(),
                        Of::Quantile(_) => yielded.samples(suite, &c.measure).len(),
                    },
                }),
        );
    }
    // As many as the earlier run had, whatever comes: stopping when it looks good
    // would be no comparison.
    for old in plan.baseline.iter().flat_map(|b| &b.rates) {
        let had = yielded.trials(suite, &old.measure).len();
        if old.suite == *suite && old.trials > had as u64 {
            wants.push(Want {
                measure: old.measure.clone(),
                more: old.trials - had as u64,
                had,
            });
        }
    }
    wants
}

/// Whether some rate of a suite is undecided and has trials left, and got some at all; and
/// none of the run is refuted, with which the verdict stands. A comparison is owed all its
/// trials.
pub fn wants_another_round(plan: &Plan, yielded: &Yield<'_>, suite: &SuiteName) -> bool {
    if plan.baseline.is_none() && judge(plan, yielded).verdict == Verdict::Fail {
        return false;
    }
    let budget = plan.budget as usize;
    let mut wants = wants(plan, yielded, suite).into_iter();
    wants.any(|want| (1..budget).contains(&want.had))
}

/// A criterion's result, and how many more good trials would settle an open one.
pub(crate) struct Tested {
    pub result: CriterionResult,
    pub more: Option<u64>,
}

fn rate(criterion: &Criterion, budget: u32, trials: &[(Place, Trial)]) -> Tested {
    let count = |what| trials.iter().filter(|(_, trial)| *trial == what).count() as u64;
    let (successes, failures) = (count(Trial::Success), count(Trial::Failure));
    let infrastructure = count(Trial::Infrastructure);
    let counted = successes + failures;
    let standing = criterion.run(trials.iter().filter_map(|(_, trial)| match trial {
        Trial::Success => Some(true),
        Trial::Failure => Some(false),
        Trial::Infrastructure => None,
    }));
    let (verdict, reason) = conclude(criterion, budget, standing, counted, infrastructure);
    let more = match standing {
        Standing::Open { clean_needed } => Some(clean_needed),
        Standing::Accepted | Standing::Refused => None,
    };
    let result = CriterionResult {
        suite: criterion.suite.clone(),
        name: criterion.name.clone(),
        asks: format!(
            "{} >= {}% margin {}",
            criterion.name, criterion.target, criterion.margin
        ),
        target: criterion.target,
        margin: criterion.margin,
        attempts: counted,
        successes,
        infrastructure_failures: infrastructure,
        estimate: (counted > 0).then(|| 100.0 * successes as f64 / counted as f64),
        interval: interval(successes, counted, 0.95),
        uneven: uneven(trials),
        verdict,
        reason,
        ..CriterionResult::default()
    };
    Tested { result, more }
}

fn conclude(
    c: &Criterion,
    budget: u32,
    standing: Standing,
    counted: u64,
    infrastructure: u64,
) -> (Verdict, String) {
    let all = counted + infrastructure;
    if all == 0 {
        return (
            Verdict::Inconclusive,
            "no attempts: nothing to judge".into(),
        );
    }
    if infrastructure as f64 > INFRASTRUCTURE_CAP * all as f64 {
        let cap = INFRASTRUCTURE_CAP * 100.0;
        return (
            Verdict::Inconclusive,
            format!(
                "{infrastructure} of {all} attempts failed for the infrastructure, more than {cap:.0}%"
            ),
        );
    }
    match standing {
        Standing::Accepted => (
            Verdict::Pass,
            format!("proved above {}%", c.target - c.margin),
        ),
        Standing::Refused => (Verdict::Fail, format!("refuted: below {}%", c.target)),
        Standing::Open { clean_needed } => (
            Verdict::Inconclusive,
            format!(
                "{clean_needed} more attempts without a failure would settle it (budget {budget})"
            ),
        ),
    }
}

/// Places that fail more often than the rest that they are judged with: named,
/// so that no average hides them.
fn uneven(trials: &[(Place, Trial)]) -> Vec<String> {
    let mut cells: BTreeMap<&Place, Proportion> = BTreeMap::new();
    for (place, trial) in trials.iter().filter(|(_, t)| *t != Trial::Infrastructure) {
        let cell = cells.entry(place).or_insert(Proportion {
            successes: 0,
            trials: 0,
        });
        cell.trials += 1;
        cell.successes += u64::from(*trial == Trial::Success);
    }
    let counts: Vec<Proportion> = cells.values().copied().collect();
    let places: Vec<&&Place> = cells.keys().collect();
    let apart = pooling::apart(&counts).into_iter();
    apart
        .map(|i| {
            format!(
                "{}: {} of {}",
                places[i], counts[i].successes, counts[i].trials
            )
        })
        .collect()
}

/// By their nodes: a sample tries most pairs of peers once, and once is no proof
/// that nothing gets through.
fn dead_cells(attempts: &[&Attempt]) -> Vec<Pair> {
    let mut alive = BTreeSet::new();
    let mut failed: BTreeMap<Pair, u32> = BTreeMap::new();
    for attempt in attempts
        .iter()
        .filter(|a| a.start.cell.predicted == Prediction::Always)
    {
        match attempt.verdict() {
            Counted::Success => {
                alive.insert(attempt.start.cell.pair.without_peers());
            }
            Counted::Failure => {
                *failed
                    .entry(attempt.start.cell.pair.without_peers())
                    .or_default() += 1;
            }
            Counted::Infrastructure => {}
        }
    }
    failed
        .into_keys()
        .filter(|pair| !alive.contains(pair))
        .collect()
}

fn summary(verdict: Verdict, criteria: &[CriterionResult], dead: &[Pair]) -> String {
    if !dead.is_empty() {
        let named: Vec<_> = dead.iter().take(3).map(ToString::to_string).collect();
        let more = dead.len().saturating_sub(named.len());
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        return format!(
            "theory says always, and every attempt failed: {}{rest}",
            named.join(", ")
        );
    }
    let undecided: Vec<_> = criteria
        .iter()
        .filter(|c| c.verdict == verdict)
        .map(|c| c.name.as_str())
        .collect();
    match verdict {
        Verdict::Pass => format!("{} proved", undecided.join(", ")),
        Verdict::Fail => format!("{} refuted", undecided.join(", ")),
        Verdict::Inconclusive => format!("{} not decided", undecided.join(", ")),
    }
}

/// Whether an attempt of plain UDP came to what theory says of its cell.
pub fn agrees_with_theory(attempt: &Attempt) -> bool {
    match (attempt.start.cell.predicted, attempt.verdict()) {
        (_, Counted::Infrastructure) => false,
        (Prediction::Always, verdict) => verdict == Counted::Success,
        (Prediction::Never, verdict) => verdict != Counted::Success,
        (Prediction::Sometimes, _) => true,
    }
}

/// Why an attempt did not count as a success, for the one who reads the cell.
///
/// By the evidence, where it tells; else by what the tester said.
pub fn why(attempt: &Attempt) -> Option<String> {
    let explained = attempt.explanation.as_ref();
    if let Some(explanation) = explained.filter(|e| e.cause != Cause::Unexplained) {
        return Some(explanation.sentence.clone());
    }
    match (&attempt.outcome, attempt.verdict()) {
        (_, Counted::Success) => None,
        (Outcome::StackFailure(failure), _) => Some(failure.to_string()),
        (Outcome::Infrastructure { detail }, _) => Some(format!("infrastructure: {detail}")),
        (Outcome::Success, _) => {
            let via = attempt
                .observed
                .via
                .map_or(String::new(), |via| format!(" through {via}"));
            Some(format!("connected{via} where a path without relay exists"))
        }
    }
}

#[cfg(test)]
mod tests;
