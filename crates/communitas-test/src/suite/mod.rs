//! The suites, one file each.

pub mod bad_requests;
pub mod daemon;
pub mod files;
pub mod mcp;
pub mod messages;

use agent::Notes;
use model::protocol::{Perform, Performed};

fn performed(notes: Notes) -> Performed {
    Performed {
        measures: notes.taken(),
        said: serde_json::Value::Null,
    }
}

/// A whole number of the step's `params`.
fn number(call: &Perform, name: &str, otherwise: u64) -> u64 {
    call.params[name].as_u64().unwrap_or(otherwise)
}
