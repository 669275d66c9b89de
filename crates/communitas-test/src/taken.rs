//! Values of one measure while they are being taken.

use std::collections::BTreeMap;

use model::measure::{Trial, Values};
use model::protocol::Taken;

/// Trials of a rate, and why the first failure failed.
pub struct Trials {
    name: &'static str,
    conditions: BTreeMap<String, String>,
    outcomes: Vec<Trial>,
    detail: Option<String>,
}

impl Trials {
    pub fn of(name: &'static str) -> Self {
        Self {
            name,
            conditions: BTreeMap::new(),
            outcomes: Vec::new(),
            detail: None,
        }
    }

    pub fn when(mut self, condition: &str, value: impl Into<String>) -> Self {
        self.conditions.insert(condition.into(), value.into());
        self
    }

    /// Takes it down, and hands on what there is.
    pub fn add<T>(&mut self, outcome: Result<T, String>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.outcomes.push(Trial::Success);
                Some(value)
            }
            Err(why) => {
                self.outcomes.push(Trial::Failure);
                self.detail.get_or_insert(why);
                None
            }
        }
    }

    pub fn taken(self) -> Option<Taken> {
        (!self.outcomes.is_empty()).then_some(Taken {
            name: self.name.into(),
            values: Values::Outcomes(self.outcomes),
            conditions: self.conditions,
            detail: self.detail,
        })
    }
}

pub fn samples(name: &str, numbers: Vec<f64>) -> Option<Taken> {
    (!numbers.is_empty()).then(|| Taken {
        name: name.into(),
        values: Values::Samples(numbers),
        conditions: BTreeMap::new(),
        detail: None,
    })
}
