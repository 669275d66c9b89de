//! Better than an earlier run? Worse? Two one-sided tests for every measure that
//! both runs have, with their errors divided by the number of measures, so that
//! many measures do not make a chance finding likely.

use super::CriterionResult;
use crate::baseline::{Baseline, BaselineRate, BaselineSamples, by_place, proportion};
use crate::measure::{Direction, MeasureDef, Trial, Yield};
use crate::proof::BaselineValue;
use crate::stats::compare::{Change, Proportion, Stratum, difference, p_lower, rates};
use crate::stats::quantile::{bounds, quantile};
use crate::stats::{ERROR_RATE, INFRASTRUCTURE_CAP, Verdict, interval};
use crate::suite::{Suite, SuiteName};

/// A row for every measure of both runs. PASS is proved better, FAIL proved worse.
pub fn judge(baseline: &Baseline, suites: &[Suite], yielded: &Yield<'_>) -> Vec<CriterionResult> {
    let measures = (baseline.rates.len() + baseline.samples.len()).max(1);
    let alpha = ERROR_RATE / measures as f64;
    let rates = baseline
        .rates
        .iter()
        .map(|old| rate(baseline, old, yielded, alpha));
    let samples = baseline.samples.iter().filter_map(|old| {
        let def = def(suites, &old.suite, &old.measure)?;
        Some(numbers(baseline, old, def, yielded, alpha))
    });
    rates.chain(samples).collect()
}

/// One proof of worse is a FAIL; else one proof of better is enough.
pub fn together(rows: &[CriterionResult]) -> Verdict {
    let any = |verdict| rows.iter().any(|row| row.verdict == verdict);
    if any(Verdict::Fail) {
        Verdict::Fail
    } else if any(Verdict::Pass) {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    }
}

fn def<'a>(suites: &'a [Suite], suite: &SuiteName, measure: &str) -> Option<&'a MeasureDef> {
    let suite = suites.iter().find(|s| s.name == *suite)?;
    suite.measures.iter().find(|m| m.name == measure)
}

fn rate(
    baseline: &Baseline,
    old: &BaselineRate,
    yielded: &Yield<'_>,
    alpha: f64,
) -> CriterionResult {
    let was = Proportion {
        successes: old.successes,
        trials: old.trials,
    };
    let is = proportion(yielded, &old.suite, &old.measure);
    let trials = yielded.trials(&old.suite, &old.measure);
    let infrastructure = trials
        .iter()
        .filter(|(_, trial)| *trial == Trial::Infrastructure)
        .count();
    let change = rates(is, was, baseline.margin, baseline.tolerance, alpha);
    let capped = infrastructure as f64 > INFRASTRUCTURE_CAP * trials.len() as f64;
    let change = change.filter(|_| !capped);
    let found = difference(is, was, alpha).map(|ends| ends.map(|end| 100.0 * end));
    let (verdict, words) = conclude(change);
    let reason = match found {
        None => "no attempts in this run: nothing to compare".to_owned(),
        Some(_) if capped => format!(
            "{infrastructure} of {} attempts failed for the infrastructure, more than {:.0}%",
            trials.len(),
            100.0 * INFRASTRUCTURE_CAP
        ),
        Some([low, high]) => {
            format!("{words}: the difference lies in [{low:+.1}, {high:+.1}] percentage points")
        }
    };
    let old_rate = was.rate().unwrap_or_default();
    CriterionResult {
        suite: old.suite.clone(),
        name: old.measure.clone(),
        asks: format!(
            "better than {} by more than {} points, and not worse by more than {}",
            baseline.run, baseline.margin, baseline.tolerance
        ),
        target: 100.0 * old_rate,
        attempts: is.trials,
        successes: is.successes,
        infrastructure_failures: infrastructure as u64,
        estimate: is.rate().map(|rate| 100.0 * rate),
        interval: interval(is.successes, is.trials, 0.95),
        baseline: Some(BaselineValue {
            estimate: 100.0 * old_rate,
            attempts: was.trials,
            difference: found,
        }),
        verdict,
        reason,
        ..CriterionResult::default()
    }
}

/// Numbers place by place: one run's far pairs are not another run's near ones.
fn numbers(
    baseline: &Baseline,
    old: &BaselineSamples,
    def: &MeasureDef,
    yielded: &Yield<'_>,
    alpha: f64,
) -> CriterionResult {
    let new = by_place(yielded, &old.suite, &old.measure);
    let shared: Vec<Stratum> = new
        .iter()
        .filter_map(|(place, values)| {
            Some(Stratum {
                new: values.clone(),
                old: old.places.get(place)?.clone(),
            })
        })
        .collect();
    let change = change(&shared, def.better, baseline, alpha);
    let (verdict, words) = conclude(change);
    let side = |pick: fn(&Stratum) -> &Vec<f64>| -> Vec<f64> {
        shared.iter().flat_map(|s| pick(s).clone()).collect()
    };
    let (is, was) = (side(|s| &s.new), side(|s| &s.old));
    let reason = match change {
        None => "no samples of a place that both runs have: nothing to compare".to_owned(),
        Some(_) => format!(
            "{words}, place by place over {} places by the rank-sum test (van Elteren)",
            shared.len()
        ),
    };
    let found = bounds(&is, 0.5, ERROR_RATE / 2.0);
    CriterionResult {
        suite: old.suite.clone(),
        name: old.measure.clone(),
        asks: format!(
            "better than {} by more than {}%, and not worse by more than {}%",
            baseline.run, baseline.margin, baseline.tolerance
        ),
        unit: def.unit,
        target: quantile(&was, 0.5).unwrap_or_default(),
        attempts: is.len() as u64,
        successes: 0,
        estimate: quantile(&is, 0.5),
        interval: found.low.zip(found.high).map(|(low, high)| [low, high]),
        baseline: quantile(&was, 0.5).map(|estimate| BaselineValue {
            estimate,
            attempts: was.len() as u64,
            difference: None,
        }),
        verdict,
        reason,
        ..CriterionResult::default()
    }
}

/// Shifted by the margin (or the tolerance) before the ranks are compared.
fn change(
    strata: &[Stratum],
    better: Direction,
    baseline: &Baseline,
    alpha: f64,
) -> Option<Change> {
    // Where higher is better, signs turn "higher" into "lower".
    let sign = match better {
        Direction::Lower => 1.0,
        Direction::Higher => -1.0,
    };
    let scaled = |values: &[f64], by: f64| values.iter().map(|v| sign * v * by).collect();
    let (gain, loss) = (baseline.margin / 100.0, baseline.tolerance / 100.0);
    let improved: Vec<Stratum> = strata
        .iter()
        .map(|s| Stratum {
            new: scaled(&s.new, 1.0),
            old: scaled(&s.old, 1.0 - sign * gain),
        })
        .collect();
    let worsened: Vec<Stratum> = strata
        .iter()
        .map(|s| Stratum {
            new: scaled(&s.old, 1.0 + sign * loss),
            old: scaled(&s.new, 1.0),
        })
        .collect();
    let (better, worse) = (p_lower(&improved)?, p_lower(&worsened)?);
    Some(if better <= alpha {
        Change::Better
    } else if worse <= alpha {
        Change::Worse
    } else {
        Change::NotProved
    })
}

fn conclude(change: Option<Change>) -> (Verdict, &'static str) {
    match change {
        Some(Change::Better) => (Verdict::Pass, "proved better"),
        Some(Change::Worse) => (Verdict::Fail, "proved worse: a regression"),
        Some(Change::NotProved) => (Verdict::Inconclusive, "neither better nor worse is proved"),
        None => (Verdict::Inconclusive, "not compared"),
    }
}
