//! What suites yield besides attempts: named quantities, and the values taken.
//!
//! A measure is defined before a run, in the plan; its values arrive as events.
//! Values are kept raw, one by one: whoever has the journal works out every rate
//! and every quantile again.

pub mod summary;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Counted};
use crate::inventory::NodeName;
use crate::suite::SuiteName;

/// With more attempts than these at once, they wait for the processor and their
/// times say little of the network.
pub const TELLING_AT_ONCE: u32 = 4;

/// A quantity, as it is declared before anything is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasureDef {
    /// Lower case with underscores, and the unit last where it has one: `connect_ms`.
    #[serde(default)]
    pub name: String,
    pub kind: Kind,
    #[serde(default)]
    pub unit: Unit,
    pub better: Direction,
    /// How it is taken, in a sentence.
    pub how: String,
    /// What it cannot see.
    pub blind: String,
    /// A rate's target in percent, for the criteria `threshold`; none is not judged there.
    #[serde(default)]
    pub target: Option<f64>,
    /// Percentage points below the target that are to be refused.
    #[serde(default)]
    pub margin: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Successes among trials; judged as a proportion.
    Rate,
    /// Numbers; judged by quantiles.
    Samples,
}

/// As Prometheus would have them, in the order of magnitude that people read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    #[default]
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "B")]
    Bytes,
    #[serde(rename = "Mbit/s")]
    MegabitsPerSecond,
    #[serde(rename = "s/Gbit")]
    SecondsPerGigabit,
    #[serde(rename = "1/s")]
    PerSecond,
    /// A number of things.
    #[serde(rename = "count")]
    Count,
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Percent => "%",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::MegabitsPerSecond => "Mbit/s",
            Self::SecondsPerGigabit => "s/Gbit",
            Self::PerSecond => "1/s",
            Self::Count => "count",
        })
    }
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Higher,
    Lower,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        })
    }
}

/// Values of one measure, taken at one place at one time. A journal entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    pub suite: SuiteName,
    pub measure: String,
    pub cycle: u32,
    pub pass: u32,
    /// Every place has its turn once a round.
    pub round: u32,
    /// The node that acted, or the caller.
    pub from: Option<NodeName>,
    /// The other end, where there is one.
    pub to: Option<NodeName>,
    /// What else tells these values from others: `streams: 4`, `path: relayed`.
    #[serde(default)]
    pub conditions: BTreeMap<String, String>,
    #[serde(flatten)]
    pub values: Values,
    /// The first failure's reason, or whatever explains the values.
    pub detail: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    Samples(Vec<f64>),
    Outcomes(Vec<Trial>),
}

/// One trial of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    Success,
    Failure,
    /// Nothing was learnt about the stack.
    Infrastructure,
}

impl From<Counted> for Trial {
    fn from(counted: Counted) -> Self {
        match counted {
            Counted::Success => Self::Success,
            Counted::Failure => Self::Failure,
            Counted::Infrastructure => Self::Infrastructure,
        }
    }
}

/// What one TEST yielded.
#[derive(Debug, Clone, Default)]
pub struct Yield<'a> {
    /// The stack's first attempts, in the order in which they were scheduled.
    pub attempts: Vec<&'a Attempt>,
    pub measured: Vec<&'a Measured>,
}

/// A number with the place that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub place: Place,
    pub value: f64,
}

/// Where values were taken: samples of one place belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub from: Option<NodeName>,
    pub to: Option<NodeName>,
    pub conditions: BTreeMap<String, String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, "{from} → {to}")?,
            (Some(node), None) | (None, Some(node)) => write!(f, "{node}")?,
            (None, None) => f.write_str("the fleet")?,
        }
        for (name, value) in &self.conditions {
            write!(f, ", {name} {value}")?;
        }
        Ok(())
    }
}

impl<'a> Yield<'a> {
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.measured.is_empty()
    }

    /// The trials of a rate in the order in which they were taken, each with its
    /// place. Of a matrix's category, they are its attempts, but for those that
    /// ended with the orchestrator: they say nothing, not even of the infrastructure.
    pub fn trials(&self, suite: &SuiteName, measure: &str) -> Vec<(Place, Trial)> {
        let attempts = self
            .attempts
            .iter()
            .filter(|a| a.start.suite == *suite && a.start.cell.category.to_string() == measure)
            .filter(|a| !a.was_interrupted())
            .map(|a| (place_of(a), Trial::from(a.verdict())));
        let measured = self.values(suite, measure).flat_map(|m| {
            let trials = match &m.values {
                Values::Outcomes(trials) => trials.as_slice(),
                Values::Samples(_) => &[],
            };
            trials.iter().map(|trial| (m.place(), *trial))
        });
        attempts.chain(measured).collect()
    }

    /// The numbers of a measure in the order in which they were taken.
    pub fn samples(&self, suite: &SuiteName, measure: &str) -> Vec<Sample> {
        let attempts = self
            .attempts
            .iter()
            .filter(|a| a.start.suite == *suite)
            .filter_map(|a| {
                Some(Sample {
                    place: place_of(a),
                    value: of_attempt(a, measure)?,
                })
            });
        let measured = self.values(suite, measure).flat_map(|m| {
            let numbers = match &m.values {
                Values::Samples(numbers) => numbers.as_slice(),
                Values::Outcomes(_) => &[],
            };
            numbers.iter().map(|value| Sample {
                place: m.place(),
                value: *value,
            })
        });
        attempts.chain(measured).collect()
    }

    fn values(&self, suite: &SuiteName, measure: &str) -> impl Iterator<Item = &'a Measured> {
        self.measured
            .iter()
            .copied()
            .filter(move |m| m.suite == *suite && m.measure == measure)
    }
}

impl Measured {
    fn place(&self) -> Place {
        Place {
            from: self.from.clone(),
            to: self.to.clone(),
            conditions: self.conditions.clone(),
        }
    }
}

fn place_of(attempt: &Attempt) -> Place {
    let pair = &attempt.start.cell.pair;
    Place {
        from: Some(pair.from.clone()),
        to: Some(pair.to.clone()),
        conditions: BTreeMap::new(),
    }
}

/// Numbers that every attempt of a matrix carries.
fn of_attempt(attempt: &Attempt, measure: &str) -> Option<f64> {
    match measure {
        "connect_ms" => attempt.connect_ms.filter(|_| {
            attempt.at_once <= TELLING_AT_ONCE && attempt.verdict() == Counted::Success
        }),
        _ => None,
    }
}
