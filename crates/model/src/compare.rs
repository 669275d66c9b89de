//! Two runs side by side: what each showed in its last TEST, and what differs.
//!
//! Nothing here says "better": where two intervals overlap, the data do not either.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::attempt::{Attempt, Counted, Matrix, Pair};
use crate::judge::{judge, why};
use crate::nat::theory::Category;
use crate::run::Run;
use crate::stats::Verdict;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub before: Side,
    pub after: Side,
    /// Why the two cannot be held against each other as they stand.
    pub caveats: Vec<String>,
    pub criteria: Vec<CriterionChange>,
    /// Cells whose attempts came to something else.
    pub cells: Vec<CellChange>,
    pub connect_ms: Vec<ConnectChange>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    pub project: String,
    pub started_at: Option<Timestamp>,
    pub state: String,
    pub verdict: Option<Verdict>,
    /// Of the stack: its commit, `+` where changes were not committed.
    pub commit: Option<String>,
    /// SHA-256 of the tester.
    pub tester: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CriterionChange {
    pub name: String,
    pub before: Option<Rate>,
    pub after: Option<Rate>,
    /// The two intervals have nothing in common.
    pub apart: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rate {
    pub successes: u64,
    pub attempts: u64,
    pub infrastructure: u64,
    /// Clopper–Pearson, 95%, in percent.
    pub interval: Option<[f64; 2]>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CellChange {
    #[serde(flatten)]
    pub pair: Pair,
    pub category: Category,
    /// In words, of all attempts of the cell.
    pub before: String,
    pub after: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConnectChange {
    pub category: Category,
    pub before: Option<Median>,
    pub after: Option<Median>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Median {
    pub ms: f64,
    pub n: usize,
    /// Most attempts that ran at once; above four, times inflate.
    pub at_once: u32,
}

pub fn compare(before: &Run, after: &Run) -> Comparison {
    let (old, new) = (LastTest::of(before), LastTest::of(after));
    Comparison {
        before: side(before),
        after: side(after),
        caveats: caveats(before, after),
        criteria: criteria(&old, &new),
        cells: cells(&old, &new),
        connect_ms: connect(&old, &new),
    }
}

/// The attempts of a run that its verdict stands on.
struct LastTest<'a> {
    run: &'a Run,
    attempts: Vec<&'a Attempt>,
}

impl<'a> LastTest<'a> {
    fn of(run: &'a Run) -> Self {
        let newest = run
            .attempts
            .iter()
            .filter(|a| a.start.matrix == Matrix::Stack)
            .map(|a| (a.start.cycle, a.start.pass))
            .max();
        let attempts = newest.map_or(Vec::new(), |(cycle, pass)| run.judged_attempts(cycle, pass));
        Self { run, attempts }
    }

    fn rates(&self) -> BTreeMap<String, Rate> {
        let Some(plan) = &self.run.plan else {
            return BTreeMap::new();
        };
        let judgement = judge(plan, &self.attempts);
        let rates = judgement.criteria.into_iter().map(|c| {
            let rate = Rate {
                successes: c.successes,
                attempts: c.attempts,
                infrastructure: c.infrastructure_failures,
                interval: c.interval,
                verdict: c.verdict,
            };
            (c.name, rate)
        });
        rates.collect()
    }

    fn cells(&self) -> BTreeMap<Pair, Vec<&'a Attempt>> {
        let mut cells: BTreeMap<Pair, Vec<&Attempt>> = BTreeMap::new();
        for attempt in &self.attempts {
            let pair = attempt.start.cell.pair.clone();
            cells.entry(pair).or_default().push(attempt);
        }
        cells
    }

    fn median(&self, category: Category) -> Option<Median> {
        let of_category = self
            .attempts
            .iter()
            .filter(|a| a.start.cell.category == category);
        let mut times: Vec<(f64, u32)> = of_category
            .filter_map(|a| Some((a.connect_ms?, a.at_once)))
            .collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let n = times.len();
        let upper = times.get(n / 2)?.0;
        let lower = times.get((n - 1) / 2)?.0;
        Some(Median {
            ms: f64::midpoint(lower, upper),
            n,
            at_once: times.iter().map(|(_, at_once)| *at_once).max()?,
        })
    }
}

fn side(run: &Run) -> Side {
    let stack = run.plan.as_ref().and_then(|plan| plan.stack.as_ref());
    let commit = stack.and_then(|stack| {
        let dirty = if stack.dirty_sha256.is_some() {
            "+"
        } else {
            ""
        };
        Some(format!("{}{dirty}", stack.commit.as_deref()?))
    });
    Side {
        project: run
            .plan
            .as_ref()
            .map_or(String::new(), |p| p.project.clone()),
        started_at: run.started_at,
        state: if run.stopped.is_some() {
            "STOPPED".into()
        } else {
            run.state.to_string()
        },
        verdict: run.last_verdict(),
        commit,
        tester: run.builds.first().map(|build| build.sha256.clone()),
    }
}

/// What was asked of the two, where it is not the same.
fn caveats(before: &Run, after: &Run) -> Vec<String> {
    let (Some(old), Some(new)) = (&before.plan, &after.plan) else {
        return vec!["one of them has no plan".into()];
    };
    let differing = [
        ("project", old.project.clone(), new.project.clone()),
        ("focus", old.focus.clone(), new.focus.clone()),
        ("fleet", old.fleet.clone(), new.fleet.clone()),
        ("place", old.runs_on.clone(), new.runs_on.clone()),
        (
            "payload",
            format!("{} bytes", old.payload_bytes),
            format!("{} bytes", new.payload_bytes),
        ),
        (
            "timeout",
            format!("{} ms", old.timeout_ms),
            format!("{} ms", new.timeout_ms),
        ),
        (
            "harness",
            old.harness_version.clone(),
            new.harness_version.clone(),
        ),
    ];
    let mut caveats: Vec<String> = differing
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| format!("the {what} differs: {old}, then {new}"))
        .collect();
    let degraded = |run: &Run| {
        let names: Vec<&str> = run.degraded.keys().map(|name| name.as_str()).collect();
        names.join(", ")
    };
    if degraded(before) != degraded(after) {
        caveats.push(format!(
            "nodes that took no part: {}, then {}",
            or_none(degraded(before)),
            or_none(degraded(after))
        ));
    }
    caveats
}

fn or_none(names: String) -> String {
    if names.is_empty() {
        "none".into()
    } else {
        names
    }
}

fn criteria(old: &LastTest<'_>, new: &LastTest<'_>) -> Vec<CriterionChange> {
    let (mut before, mut after) = (old.rates(), new.rates());
    let mut names: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let (before, after) = (before.remove(&name), after.remove(&name));
            CriterionChange {
                apart: are_apart(before.as_ref(), after.as_ref()),
                name,
                before,
                after,
            }
        })
        .collect()
}

fn are_apart(before: Option<&Rate>, after: Option<&Rate>) -> bool {
    match (
        before.and_then(|rate| rate.interval),
        after.and_then(|rate| rate.interval),
    ) {
        (Some(old), Some(new)) => old[1] < new[0] || new[1] < old[0],
        _ => false,
    }
}

fn cells(old: &LastTest<'_>, new: &LastTest<'_>) -> Vec<CellChange> {
    let (before, after) = (old.cells(), new.cells());
    let both = after
        .iter()
        .filter_map(|(pair, new)| Some((pair, before.get(pair)?, new)));
    both.filter(|(_, old, new)| kind(old) != kind(new))
        .map(|(pair, old, new)| CellChange {
            pair: pair.clone(),
            category: new[0].start.cell.category,
            before: words(old),
            after: words(new),
        })
        .collect()
}

/// What a cell came to. One failure among successes is no other kind of cell: where
/// criteria ask for many attempts, single ones scatter.
#[derive(Debug, PartialEq, Eq)]
enum CellKind {
    Direct,
    Relayed,
    Failed,
    Unknown,
}

fn kind(attempts: &[&Attempt]) -> CellKind {
    let first_that = |counted| attempts.iter().find(|a| a.verdict() == counted);
    match (first_that(Counted::Success), first_that(Counted::Failure)) {
        (Some(success), _) if success.is_relayed() => CellKind::Relayed,
        (Some(_), _) => CellKind::Direct,
        (None, Some(_)) => CellKind::Failed,
        (None, None) => CellKind::Unknown,
    }
}

fn words(attempts: &[&Attempt]) -> String {
    let succeeded = attempts
        .iter()
        .filter(|a| a.verdict() == Counted::Success)
        .count();
    let reason = attempts.iter().find_map(|a| why(a));
    match (kind(attempts), reason) {
        (CellKind::Failed | CellKind::Unknown, Some(reason)) => reason,
        (kind, _) => {
            let word = if kind == CellKind::Relayed {
                "relayed"
            } else {
                "direct"
            };
            format!("{word}, {succeeded} of {}", attempts.len())
        }
    }
}

fn connect(old: &LastTest<'_>, new: &LastTest<'_>) -> Vec<ConnectChange> {
    [Category::Direct, Category::NatTraversed, Category::Relay]
        .into_iter()
        .map(|category| ConnectChange {
            category,
            before: old.median(category),
            after: new.median(category),
        })
        .filter(|change| change.before.is_some() || change.after.is_some())
        .collect()
}

#[cfg(test)]
mod tests;
