//! What was done to a replica, and what whoever did it had seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A peer in hex, and its count of adds.
pub type Tag = (String, u64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    Add {
        element: String,
        tag: Tag,
    },
    /// Takes away the adds that were seen, and no others.
    Remove {
        element: String,
        seen: Vec<Tag>,
    },
    Write {
        register: String,
        value: String,
        /// Writes by peer that this one comes after, itself included.
        clock: BTreeMap<String, u64>,
    },
}
