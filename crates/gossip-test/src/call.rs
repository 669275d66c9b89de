//! Reading a call, and writing what it measured.

use std::time::Duration;

use model::measure::{Trial, Values};
use model::protocol::{Failure, Perform, Performed, Reason, Taken};
use serde::de::DeserializeOwned;

use crate::said::Said;

/// The step's parameters; all of them may be left out.
pub fn params<T: DeserializeOwned + Default>(call: &Perform) -> Result<T, Failure> {
    if call.params.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(call.params.clone()).map_err(|error| {
        Failure::new(
            Reason::BadRequest,
            format!("params of the step `{}`: {error}", call.step),
        )
    })
}

/// What is left of a call's time once there is enough to answer in.
pub fn patience(call: &Perform) -> Duration {
    Duration::from_millis(call.timeout_ms).saturating_sub(Duration::from_secs(2))
}

/// Trials of one rate, with the reason of the first that failed.
#[derive(Debug, Default)]
pub struct Trials {
    outcomes: Vec<Trial>,
    detail: Option<String>,
}

impl Trials {
    pub fn note(&mut self, succeeded: bool, why_not: impl FnOnce() -> String) {
        if succeeded {
            self.outcomes.push(Trial::Success);
        } else {
            self.outcomes.push(Trial::Failure);
            self.detail.get_or_insert_with(why_not);
        }
    }

    pub fn named(self, name: &str) -> Taken {
        Taken {
            name: name.into(),
            values: Values::Outcomes(self.outcomes),
            conditions: Default::default(),
            detail: self.detail,
        }
    }
}

pub fn samples(name: &str, numbers: Vec<f64>) -> Taken {
    Taken {
        name: name.into(),
        values: Values::Samples(numbers),
        conditions: Default::default(),
        detail: None,
    }
}

pub fn with(mut taken: Taken, condition: &str, value: &str) -> Taken {
    taken.conditions.insert(condition.into(), value.into());
    taken
}

/// What is empty is not worth a line of the journal.
pub fn performed(measures: Vec<Taken>, said: &Said) -> Performed {
    let has_values = |taken: &Taken| match &taken.values {
        Values::Samples(numbers) => !numbers.is_empty(),
        Values::Outcomes(trials) => !trials.is_empty(),
    };
    Performed {
        measures: measures.into_iter().filter(has_values).collect(),
        said: serde_json::to_value(said).unwrap_or_default(),
    }
}

pub fn stack(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::Stack, format!("{what}: {error:#}"))
}
