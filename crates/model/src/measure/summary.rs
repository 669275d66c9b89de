//! What a measure came to in one TEST, in a line.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, MeasureDef, Sample, Trial, Unit, Yield};
use crate::stats::interval;
use crate::stats::quantile::{bounds, quantile};
use crate::suite::{Suite, SuiteName};

type Conditions = BTreeMap<String, String>;

/// Of all its values together, and how far apart conditions are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    pub suite: SuiteName,
    pub measure: String,
    pub kind: Kind,
    pub unit: Unit,
    /// Samples, or trials without those of the infrastructure.
    pub values: u64,
    /// Of a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successes: Option<u64>,
    /// The percentage of successes, or the median; absent where nothing was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<f64>,
    /// Of the estimate, at 95%; absent where the values are too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Of samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    /// Sets of conditions that values were taken under, and their lowest and highest
    /// estimate, where they differ: what an average would hide.
    pub conditions: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<[f64; 2]>,
}

/// `goodput_mbit 181 Mbit/s [160, 200], p95 390, of 56; 31 to 450 between 28 conditions`
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(estimate) = self.estimate else {
            return write!(f, "{}: no values", self.measure);
        };
        write!(f, "{} {} {}", self.measure, number(estimate), self.unit)?;
        if let Some([low, high]) = self.interval {
            write!(f, " [{}, {}]", number(low), number(high))?;
        }
        if let Some(p95) = self.p95 {
            write!(f, ", p95 {}", number(p95))?;
        }
        match self.successes {
            Some(successes) => write!(f, ", {successes} of {}", self.values)?,
            None => write!(f, ", of {}", self.values)?,
        }
        if let Some([low, high]) = self.between {
            let (low, high) = (number(low), number(high));
            write!(
                f,
                "; {low} to {high} between {} conditions",
                self.conditions
            )?;
        }
        Ok(())
    }
}

/// Three digits, as far as they mean something.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// Every measure of these suites, in their order.
pub fn summaries(suites: &[Suite], yielded: &Yield<'_>) -> Vec<Summary> {
    let of = |suite: &Suite| {
        let measures = suite.measures.iter();
        measures
            .map(|measure| summary(&suite.name, measure, yielded))
            .collect::<Vec<_>>()
    };
    suites.iter().flat_map(of).collect()
}

fn summary(suite: &SuiteName, measure: &MeasureDef, yielded: &Yield<'_>) -> Summary {
    let empty = Summary {
        suite: suite.clone(),
        measure: measure.name.clone(),
        kind: measure.kind,
        unit: measure.unit,
        values: 0,
        successes: None,
        estimate: None,
        interval: None,
        p95: None,
        conditions: 0,
        between: None,
    };
    match measure.kind {
        Kind::Rate => {
            let trials = yielded.trials(suite, &measure.name).into_iter();
            let counted: Vec<(Conditions, bool)> = trials
                .filter(|(_, trial)| *trial != Trial::Infrastructure)
                .map(|(place, trial)| (place.conditions, trial == Trial::Success))
                .collect();
            of_rate(empty, &counted)
        }
        Kind::Samples => of_samples(empty, yielded.samples(suite, &measure.name)),
    }
}

fn of_rate(empty: Summary, trials: &[(Conditions, bool)]) -> Summary {
    let all: Vec<bool> = trials.iter().map(|(_, success)| *success).collect();
    let successes = all.iter().filter(|success| **success).count() as u64;
    let apart = apart(trials.iter().cloned());
    Summary {
        values: all.len() as u64,
        successes: Some(successes),
        estimate: percent(&all),
        interval: interval(successes, all.len() as u64, 0.95),
        conditions: apart.len() as u64,
        between: between(apart.values().filter_map(|trials| percent(trials))),
        ..empty
    }
}

fn of_samples(empty: Summary, samples: Vec<Sample>) -> Summary {
    let all: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let median = |values: &[f64]| quantile(values, 0.5);
    let bounds = bounds(&all, 0.5, 0.025);
    let apart = apart(samples.into_iter().map(|s| (s.place.conditions, s.value)));
    Summary {
        values: all.len() as u64,
        estimate: median(&all),
        interval: bounds.low.zip(bounds.high).map(|(low, high)| [low, high]),
        p95: quantile(&all, 0.95),
        conditions: apart.len() as u64,
        between: between(apart.values().filter_map(|values| median(values))),
        ..empty
    }
}

fn apart<T>(values: impl Iterator<Item = (Conditions, T)>) -> BTreeMap<Conditions, Vec<T>> {
    let mut groups: BTreeMap<Conditions, Vec<T>> = BTreeMap::new();
    for (conditions, value) in values {
        groups.entry(conditions).or_default().push(value);
    }
    groups
}

fn percent(trials: &[bool]) -> Option<f64> {
    let successes = trials.iter().filter(|success| **success).count();
    (!trials.is_empty()).then(|| 100.0 * successes as f64 / trials.len() as f64)
}

/// The ends of what several say, where they do not say the same.
fn between(estimates: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let all: Vec<f64> = estimates.collect();
    let lowest = all.iter().copied().reduce(f64::min)?;
    let highest = all.iter().copied().reduce(f64::max)?;
    (lowest < highest).then_some([lowest, highest])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;
    use crate::measure::{Measured, Values};
    use crate::suite::throughput;

    fn suite() -> Suite {
        throughput(Load {
            pairs: 1,
            streams: vec![1],
            seconds: 1,
        })
    }

    fn measured(measure: &str, path: &str, values: Values) -> Measured {
        Measured {
            suite: suite().name,
            measure: measure.into(),
            cycle: 0,
            pass: 0,
            round: 0,
            from: None,
            to: None,
            conditions: BTreeMap::from([("path".into(), path.into())]),
            values,
            detail: None,
        }
    }

    fn of(measure: &str, measured: &[Measured]) -> Summary {
        let yielded = Yield {
            attempts: Vec::new(),
            measured: measured.iter().collect(),
        };
        let all = summaries(&[suite()], &yielded);
        all.into_iter().find(|s| s.measure == measure).unwrap()
    }

    #[test]
    fn what_an_average_would_hide_is_said() {
        let goodput = of(
            "goodput_mbit",
            &[
                measured("goodput_mbit", "direct", Values::Samples(vec![300.0; 5])),
                measured("goodput_mbit", "relayed", Values::Samples(vec![20.0; 4])),
            ],
        );
        assert_eq!((goodput.values, goodput.conditions), (9, 2));
        assert_eq!(goodput.estimate, Some(300.0));
        assert_eq!(goodput.between, Some([20.0, 300.0]));
        assert_eq!(goodput.interval, Some([20.0, 300.0]));
    }

    #[test]
    fn a_line_says_all_of_it() {
        let values = vec![10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
        let line = of(
            "goodput_mbit",
            &[
                measured("goodput_mbit", "direct", Values::Samples(values)),
                measured("goodput_mbit", "relayed", Values::Samples(vec![1.5])),
            ],
        );
        assert_eq!(
            line.to_string(),
            "goodput_mbit 30.0 Mbit/s [1.50, 60.0], p95 60.0, of 7; 1.50 to 30.0 between 2 conditions"
        );
    }

    #[test]
    fn infrastructure_is_no_trial() {
        let trials = vec![Trial::Success, Trial::Failure, Trial::Infrastructure];
        let carried = of(
            "carried",
            &[measured("carried", "direct", Values::Outcomes(trials))],
        );
        assert_eq!((carried.values, carried.successes), (2, Some(1)));
        assert_eq!((carried.estimate, carried.between), (Some(50.0), None));
    }

    #[test]
    fn nothing_taken_is_no_estimate() {
        let none = of("goodput_mbit", &[]);
        assert_eq!((none.values, none.estimate, none.p95), (0, None, None));
    }
}
