//! An expression against what a TEST yielded, in three values: what the data do
//! not decide yet is INCONCLUSIVE, and a lucky sample decides nothing.

use std::collections::BTreeMap;

use super::{Tested, rate};
use crate::expr::{Comparison, Expr, Of, Side};
use crate::measure::{Place, Sample, Trial, Yield};
use crate::proof::CriterionResult;
use crate::stats::quantile::{bounds, fewest_above, quantile};
use crate::stats::{Criterion, ERROR_RATE, Verdict, at_most_so_many};

/// Each part that has to hold, and what would settle it.
pub fn judge(expr: &Expr, budget: u32, yielded: &Yield<'_>) -> Vec<CriterionResult> {
    expr.conjuncts()
        .into_iter()
        .map(|part| conjunct(part, budget, yielded))
        .collect()
}

/// Comparisons that are open and that the whole still depends on, each with how
/// many more good trials or samples would settle it.
pub fn open<'e>(expr: &'e Expr, budget: u32, yielded: &Yield<'_>) -> Vec<(&'e Comparison, u64)> {
    match verdict(expr, budget, yielded) {
        Verdict::Pass | Verdict::Fail => Vec::new(),
        Verdict::Inconclusive => match expr {
            Expr::All(parts) | Expr::Any(parts) => parts
                .iter()
                .flat_map(|part| open(part, budget, yielded))
                .collect(),
            Expr::Compare(c) => match compare(c, budget, yielded).more {
                Some(more) => vec![(c, more)],
                None => Vec::new(),
            },
        },
    }
}

fn verdict(expr: &Expr, budget: u32, yielded: &Yield<'_>) -> Verdict {
    let parts = |parts: &[Expr], join: fn(Verdict, Verdict) -> Verdict| {
        parts
            .iter()
            .map(|part| verdict(part, budget, yielded))
            .reduce(join)
            .unwrap_or(Verdict::Inconclusive)
    };
    match expr {
        Expr::Compare(c) => compare(c, budget, yielded).result.verdict,
        Expr::All(all) => parts(all, Verdict::and),
        Expr::Any(any) => parts(any, Verdict::or),
    }
}

fn conjunct(expr: &Expr, budget: u32, yielded: &Yield<'_>) -> CriterionResult {
    let parts: Vec<CriterionResult> = expr
        .comparisons()
        .into_iter()
        .map(|c| compare(c, budget, yielded).result)
        .collect();
    let [one] = parts.as_slice() else {
        let reasons: Vec<String> = parts
            .iter()
            .map(|part| format!("{}: {}, {}", part.name, part.verdict, part.reason))
            .collect();
        return CriterionResult {
            name: expr.to_string(),
            asks: expr.to_string(),
            verdict: verdict(expr, budget, yielded),
            reason: reasons.join("; "),
            uneven: parts.iter().flat_map(|part| part.uneven.clone()).collect(),
            ..CriterionResult::default()
        };
    };
    one.clone()
}

fn compare(c: &Comparison, budget: u32, yielded: &Yield<'_>) -> Tested {
    match c.of {
        Of::Rate => compare_rate(c, budget, yielded),
        Of::Quantile(q) => compare_quantile(c, q, budget, yielded),
    }
}

/// A rate that is to be low is the rate of its opposite that is to be high.
fn compare_rate(c: &Comparison, budget: u32, yielded: &Yield<'_>) -> Tested {
    let trials = yielded.trials(&c.suite, &c.measure);
    let criterion = |target| Criterion {
        suite: c.suite.clone(),
        name: c.measure.clone(),
        target,
        margin: c.margin,
    };
    let mut tested = match c.side {
        Side::AtLeast => rate(&criterion(c.bound), budget, &trials),
        Side::AtMost => {
            let flipped: Vec<(Place, Trial)> = trials
                .iter()
                .map(|(place, trial)| (place.clone(), opposite(*trial)))
                .collect();
            let mut tested = rate(&criterion(100.0 - c.bound), budget, &flipped);
            turn_back(&mut tested.result, c);
            tested
        }
    };
    tested.result.name = c.to_string();
    tested.result.asks = format!("{c} margin {}", c.margin);
    tested
}

fn opposite(trial: Trial) -> Trial {
    match trial {
        Trial::Success => Trial::Failure,
        Trial::Failure => Trial::Success,
        Trial::Infrastructure => Trial::Infrastructure,
    }
}

/// Counts and interval as of the rate itself.
fn turn_back(result: &mut CriterionResult, c: &Comparison) {
    result.successes = result.attempts - result.successes;
    result.target = c.bound;
    result.estimate = result.estimate.map(|percent| 100.0 - percent);
    result.interval = result
        .interval
        .map(|[low, high]| [100.0 - high, 100.0 - low]);
    match result.verdict {
        Verdict::Pass => result.reason = format!("proved below {}%", c.bound + c.margin),
        Verdict::Fail => result.reason = format!("refuted: above {}%", c.bound),
        Verdict::Inconclusive => {}
    }
}

/// A quantile is beyond its bound when too many samples are: a count of bad ones,
/// judged exactly. Looked at after 1, 2, 4, … rounds of all places, with half,
/// a quarter, an eighth, … of the error rate, so that all looks together keep it.
fn compare_quantile(c: &Comparison, q: f64, budget: u32, yielded: &Yield<'_>) -> Tested {
    let samples = yielded.samples(&c.suite, &c.measure);
    let good_share = match c.side {
        Side::AtMost => q,
        Side::AtLeast => 1.0 - q,
    };
    let is_bad = |value: f64| match c.side {
        Side::AtMost => value > c.bound,
        Side::AtLeast => value < c.bound,
    };
    let looks = Looks::of(&samples, good_share, is_bad);
    let values: Vec<f64> = samples.iter().map(|s| s.value).collect();
    let alpha = looks.alpha;
    let found = bounds(&values, q, alpha);
    let quantity = c.quantity();
    let confidence = 100.0 * (1.0 - alpha);
    let (verdict, reason) = match looks.decided {
        Some(Verdict::Pass) => (
            Verdict::Pass,
            format!(
                "proved with {confidence:.1}% confidence over {} samples",
                looks.seen
            ),
        ),
        Some(_) => (
            Verdict::Fail,
            format!(
                "refuted with {confidence:.1}% confidence over {} samples",
                looks.seen
            ),
        ),
        None if values.is_empty() => (
            Verdict::Inconclusive,
            "no samples: nothing to judge".to_owned(),
        ),
        None => (
            Verdict::Inconclusive,
            format!(
                "{} more samples within the bound would settle it (budget {budget})",
                looks.more
            ),
        ),
    };
    let bad = values.iter().filter(|value| is_bad(**value)).count();
    let more = (looks.decided.is_none()).then_some(looks.more);
    let pooled = pooled(&samples);
    Tested {
        result: CriterionResult {
            suite: c.suite.clone(),
            name: c.to_string(),
            asks: c.to_string(),
            unit: c.unit,
            target: c.bound,
            attempts: values.len() as u64,
            successes: (values.len() - bad) as u64,
            estimate: quantile(&values, q),
            interval: found.low.zip(found.high).map(|(low, high)| [low, high]),
            verdict,
            reason: pooled.map_or(reason.clone(), |pooled| {
                format!("{reason}; {quantity} {pooled}")
            }),
            ..CriterionResult::default()
        },
        more,
    }
}

/// What the looks so far came to.
struct Looks {
    decided: Option<Verdict>,
    /// Of the look that decided, or else of the next one.
    alpha: f64,
    /// Samples at the look that decided.
    seen: usize,
    /// Good samples in a row that the next look would pass with.
    more: u64,
}

impl Looks {
    fn of(samples: &[Sample], good_share: f64, is_bad: impl Fn(f64) -> bool) -> Self {
        let rounds = rounds(samples);
        let last = rounds.iter().copied().max().map_or(0, |round| round + 1);
        let mut alpha = ERROR_RATE / 2.0;
        let fewest = fewest_above(good_share, alpha);
        let mut until = 1;
        while until <= last {
            let seen: Vec<&Sample> = samples
                .iter()
                .zip(&rounds)
                .filter(|(_, round)| **round < until)
                .map(|(sample, _)| sample)
                .collect();
            until *= 2;
            if (seen.len() as u64) < fewest {
                continue;
            }
            let bad = seen.iter().filter(|s| is_bad(s.value)).count() as u64;
            if let Some(decided) = decide(seen.len() as u64, bad, good_share, alpha) {
                return Self {
                    decided: Some(decided),
                    alpha,
                    seen: seen.len(),
                    more: 0,
                };
            }
            alpha /= 2.0;
        }
        let bad = samples.iter().filter(|s| is_bad(s.value)).count() as u64;
        Self {
            decided: None,
            alpha,
            seen: samples.len(),
            more: clean_needed(samples.len() as u64, bad, good_share, alpha),
        }
    }
}

/// Of which round each sample is: the how many-th of its place.
fn rounds(samples: &[Sample]) -> Vec<usize> {
    let mut count: BTreeMap<&Place, usize> = BTreeMap::new();
    samples
        .iter()
        .map(|sample| {
            let next = count.entry(&sample.place).or_default();
            *next += 1;
            *next - 1
        })
        .collect()
}

fn decide(n: u64, bad: u64, good_share: f64, alpha: f64) -> Option<Verdict> {
    if at_most_so_many(bad, n, 1.0 - good_share) <= alpha {
        Some(Verdict::Pass)
    } else if at_most_so_many(n - bad, n, good_share) <= alpha {
        Some(Verdict::Fail)
    } else {
        None
    }
}

/// Beyond any budget: the answer is then as good as never.
const FAR: u64 = 100_000;

fn clean_needed(n: u64, bad: u64, good_share: f64, alpha: f64) -> u64 {
    let passes = |more: u64| at_most_so_many(bad, n + more, 1.0 - good_share) <= alpha;
    let (mut low, mut high) = (0, 1);
    while !passes(high) {
        if high > FAR {
            return high;
        }
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if passes(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Says that places are judged together, and how far apart they lie.
fn pooled(samples: &[Sample]) -> Option<String> {
    let mut places: BTreeMap<&Place, Vec<f64>> = BTreeMap::new();
    for sample in samples {
        places.entry(&sample.place).or_default().push(sample.value);
    }
    let mut medians: Vec<(f64, &Place)> = places
        .iter()
        .filter_map(|(place, values)| Some((quantile(values, 0.5)?, *place)))
        .collect();
    medians.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (low, high) = (medians.first()?, medians.last()?);
    (places.len() > 1).then(|| {
        format!(
            "is over {} places, whose medians run from {:.1} ({}) to {:.1} ({})",
            places.len(),
            low.0,
            low.1,
            high.0,
            high.1
        )
    })
}
