//! What an earlier run yielded, as far as a later one is compared with it.
//!
//! It goes into the later run's plan whole, so that its proof can be judged again
//! without the earlier run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::{Kind, Trial, Yield};
use crate::stats::compare::Proportion;
use crate::suite::{Suite, SuiteName};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// The earlier run, by its directory's name.
    pub run: String,
    /// A rate is better where it is proved to have risen by more than this, in
    /// percentage points; a time, where it fell by more than this, in percent.
    pub margin: f64,
    /// And worse where it is proved to have dropped by more than this.
    pub tolerance: f64,
    pub rates: Vec<BaselineRate>,
    pub samples: Vec<BaselineSamples>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineRate {
    pub suite: SuiteName,
    pub measure: String,
    pub successes: u64,
    pub trials: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineSamples {
    pub suite: SuiteName,
    pub measure: String,
    /// By place, in words.
    pub places: BTreeMap<String, Vec<f64>>,
}

impl Baseline {
    /// All rates and samples of the suites that the earlier run's last TEST yielded.
    pub fn of(
        run: String,
        suites: &[Suite],
        yielded: &Yield<'_>,
        margin: f64,
        tolerance: f64,
    ) -> Self {
        let mut baseline = Self {
            run,
            margin,
            tolerance,
            rates: Vec::new(),
            samples: Vec::new(),
        };
        for (suite, def) in suites
            .iter()
            .flat_map(|s| s.measures.iter().map(move |m| (&s.name, m)))
        {
            match def.kind {
                Kind::Rate => {
                    let rate = proportion(yielded, suite, &def.name);
                    if rate.trials > 0 {
                        baseline.rates.push(BaselineRate {
                            suite: suite.clone(),
                            measure: def.name.clone(),
                            successes: rate.successes,
                            trials: rate.trials,
                        });
                    }
                }
                Kind::Samples => {
                    let places = by_place(yielded, suite, &def.name);
                    if !places.is_empty() {
                        baseline.samples.push(BaselineSamples {
                            suite: suite.clone(),
                            measure: def.name.clone(),
                            places,
                        });
                    }
                }
            }
        }
        baseline
    }

    pub fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.samples.is_empty()
    }
}

/// Trials that say something of the stack.
pub fn proportion(yielded: &Yield<'_>, suite: &SuiteName, measure: &str) -> Proportion {
    let trials = yielded.trials(suite, measure);
    let count = |what| trials.iter().filter(|(_, trial)| *trial == what).count() as u64;
    let successes = count(Trial::Success);
    Proportion {
        successes,
        trials: successes + count(Trial::Failure),
    }
}

pub fn by_place(
    yielded: &Yield<'_>,
    suite: &SuiteName,
    measure: &str,
) -> BTreeMap<String, Vec<f64>> {
    let mut places: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for sample in yielded.samples(suite, measure) {
        places
            .entry(sample.place.to_string())
            .or_default()
            .push(sample.value);
    }
    places
}
