//! From attempts to a verdict. Anybody with the journal comes to the same one.

use std::collections::{BTreeMap, BTreeSet};

use crate::attempt::{Attempt, Counted, Outcome, Pair};
use crate::event::Plan;
use crate::nat::theory::Prediction;
use crate::proof::CriterionResult;
use crate::stats::{Criterion, INFRASTRUCTURE_CAP, Standing, Verdict, interval};

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

/// Judges one TEST: `attempts` in the order they were scheduled.
pub fn judge(plan: &Plan, attempts: &[&Attempt]) -> Judgement {
    let criteria: Vec<_> = plan
        .criteria
        .iter()
        .map(|c| judge_criterion(c, plan.budget, attempts))
        .collect();
    let dead_cells = dead_cells(attempts);
    let mut verdict = criteria
        .iter()
        .map(|c| c.verdict)
        .reduce(Verdict::and)
        .unwrap_or(Verdict::Inconclusive);
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

/// Where a criterion stands, by the attempts that count for it.
pub fn standing(criterion: &Criterion, attempts: &[&Attempt]) -> Standing {
    criterion.run(
        of_criterion(criterion, attempts).filter_map(|a| match a.verdict() {
            Counted::Success => Some(true),
            Counted::Failure => Some(false),
            Counted::Infrastructure => None,
        }),
    )
}

fn of_criterion<'a>(
    criterion: &'a Criterion,
    attempts: &'a [&'a Attempt],
) -> impl Iterator<Item = &'a Attempt> {
    attempts
        .iter()
        .copied()
        .filter(|a| a.start.cell.criterion() == criterion.name)
}

fn judge_criterion(criterion: &Criterion, budget: u32, attempts: &[&Attempt]) -> CriterionResult {
    let count = |what| {
        of_criterion(criterion, attempts)
            .filter(|a| a.verdict() == what)
            .count() as u64
    };
    let (successes, failures) = (count(Counted::Success), count(Counted::Failure));
    let infrastructure = count(Counted::Infrastructure);
    let (verdict, reason) = conclude(
        criterion,
        budget,
        attempts,
        successes + failures,
        infrastructure,
    );
    CriterionResult {
        name: criterion.name.clone(),
        target: criterion.target,
        margin: criterion.margin,
        attempts: successes + failures,
        successes,
        infrastructure_failures: infrastructure,
        interval: interval(successes, successes + failures, 0.95),
        verdict,
        reason,
    }
}

fn conclude(
    c: &Criterion,
    budget: u32,
    attempts: &[&Attempt],
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
    match standing(c, attempts) {
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
pub fn why(attempt: &Attempt) -> Option<String> {
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
