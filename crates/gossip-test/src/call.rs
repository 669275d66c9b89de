//! Reading a call, and writing what it measured.

use std::time::Duration;

use agent::Notes;
use model::protocol::{Failure, Perform, Performed, Reason};
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

/// How a trial went.
pub fn held(is_so: bool, why_not: impl FnOnce() -> String) -> Result<(), String> {
    is_so.then_some(()).ok_or_else(why_not)
}

pub fn performed(notes: Notes, said: &Said) -> Performed {
    Performed {
        measures: notes.taken(),
        said: serde_json::to_value(said).unwrap_or_default(),
    }
}

pub fn stack(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::Stack, format!("{what}: {error:#}"))
}
