//! How peers fare while nothing is asked of them: a look at every service during a
//! wait, and what in it is a regression.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inventory::NodeName;

/// A service may grow by half of what it had, and by this much, before it leaks.
const GROWTH: u64 = 32 << 20;

/// One look at one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    pub node: NodeName,
    pub unit: String,
    /// Changes with every boot of the host.
    pub boot: String,
    /// Of the running program, which its file's name says; `None` where none runs.
    pub digest: Option<String>,
    pub pid: u32,
    /// systemd's own count of automatic restarts (NRestarts).
    pub restarts: u32,
    pub resident_bytes: u64,
    /// The tester said hello; `None` for a service that nobody asks.
    pub answers: Option<bool>,
}

/// What has become worse since the first look of the wait. A host that booted in
/// between is a new beginning: that is not the stack's doing.
pub fn regression(then: &Health, now: &Health) -> Option<String> {
    if then.boot != now.boot {
        return None;
    }
    let (node, unit) = (&now.node, &now.unit);
    if now.restarts > then.restarts {
        let by = now.restarts - then.restarts;
        return Some(format!(
            "{unit} on {node} crashed and was restarted {by} times"
        ));
    }
    let Some(digest) = &now.digest else {
        return Some(format!("{unit} on {node} does not run any more"));
    };
    if then.digest.as_ref().is_some_and(|then| then != digest) {
        return Some(format!("{unit} on {node} runs another binary, {digest}"));
    }
    if now.answers == Some(false) {
        return Some(format!("{unit} on {node} runs and does not answer"));
    }
    let limit = then.resident_bytes + then.resident_bytes / 2 + GROWTH;
    if then.pid == now.pid && now.resident_bytes > limit {
        return Some(format!(
            "{unit} on {node} grew from {} to {} MiB while it had nothing to do",
            then.resident_bytes >> 20,
            now.resident_bytes >> 20
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Health {
        Health {
            node: NodeName::new("cone"),
            unit: "x.service".into(),
            boot: "b".into(),
            digest: Some("d".into()),
            pid: 7,
            restarts: 0,
            resident_bytes: 20 << 20,
            answers: Some(true),
        }
    }

    #[test]
    fn each_way_to_fall_ill_is_told_apart() {
        type Change = fn(&mut Health);
        let ways: [(Change, &str); 5] = [
            (|h| h.restarts = 2, "restarted 2 times"),
            (|h| h.digest = None, "does not run"),
            (|h| h.digest = Some("e".into()), "another binary"),
            (|h| h.answers = Some(false), "does not answer"),
            (|h| h.resident_bytes = 63 << 20, "grew from 20 to 63 MiB"),
        ];
        for (change, words) in ways {
            let mut now = healthy();
            change(&mut now);
            let said = regression(&healthy(), &now).unwrap();
            assert!(said.contains(words), "{said}");
            now.boot = "another".into();
            assert_eq!(regression(&healthy(), &now), None, "the host booted");
        }
    }

    #[test]
    fn what_stays_within_bounds_is_well() {
        let mut now = healthy();
        now.resident_bytes = 62 << 20;
        assert_eq!(regression(&healthy(), &now), None);
    }
}
