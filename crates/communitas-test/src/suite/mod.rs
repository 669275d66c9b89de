//! The suites, one file each.

pub mod bad_requests;
pub mod daemon;
pub mod files;
pub mod mcp;
pub mod messages;

use model::protocol::{Perform, Performed, Taken};

fn performed(taken: impl IntoIterator<Item = Option<Taken>>) -> Performed {
    Performed {
        measures: taken.into_iter().flatten().collect(),
        said: serde_json::Value::Null,
    }
}

/// A whole number of the step's `params`.
fn number(call: &Perform, name: &str, otherwise: u64) -> u64 {
    call.params[name].as_u64().unwrap_or(otherwise)
}
