//! What a registration or a heartbeat may contain.
//!
//! Names become peer names, Prometheus labels and lines of a page: they are kept
//! to characters that mean nothing in any of these, and to a length.

use model::registration::{Heartbeat, Registration};

const NAME_MAX: usize = 64;
const VERSION_MAX: usize = 128;
const METRICS_MAX: usize = 128;
const METRIC_NAME_MAX: usize = 96;
const LOG_LINES_MAX: usize = 100;
const LOG_LINE_MAX: usize = 500;
const REASON_MAX: usize = 500;

/// One field that is not acceptable, and what would be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {expected}")]
pub struct FieldError {
    field: &'static str,
    expected: String,
}

pub fn check_registration(registration: &Registration) -> Result<(), FieldError> {
    check_name("project", &registration.project)?;
    check_name("node", &registration.node)?;
    check_name("tester", &registration.tester)?;
    require(
        "stack_version",
        (1..=VERSION_MAX).contains(&registration.stack_version.len())
            && !registration.stack_version.contains(char::is_control),
        || format!("1 to {VERSION_MAX} bytes of text without control characters"),
    )?;
    require("digest", is_sha256(&registration.digest), || {
        "a SHA-256 as 64 lower-case hexadecimal digits".into()
    })
}

pub fn check_heartbeat(heartbeat: &Heartbeat) -> Result<(), FieldError> {
    let fits = |line: &String| line.len() <= LOG_LINE_MAX;
    require(
        "log",
        heartbeat.log.len() <= LOG_LINES_MAX && heartbeat.log.iter().all(fits),
        || format!("at most {LOG_LINES_MAX} lines of at most {LOG_LINE_MAX} bytes"),
    )?;
    require("metrics", heartbeat.metrics.len() <= METRICS_MAX, || {
        format!("at most {METRICS_MAX} values")
    })?;
    require(
        "metrics",
        heartbeat.metrics.keys().all(|name| is_metric_name(name)),
        || {
            format!(
                "names are Prometheus names ([a-zA-Z_][a-zA-Z0-9_]*) of at most {METRIC_NAME_MAX} bytes"
            )
        },
    )
}

pub fn check_reason(reason: Option<&str>, needed: bool) -> Result<(), FieldError> {
    let fits = reason.map_or(!needed, |text| {
        (1..=REASON_MAX).contains(&text.len()) && !text.contains(char::is_control)
    });
    require("reason", fits, || {
        format!("up to {REASON_MAX} bytes of text on one line; whoever rejects says why")
    })
}

fn check_name(field: &'static str, value: &str) -> Result<(), FieldError> {
    let fits = (1..=NAME_MAX).contains(&value.len());
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    require(field, fits && value.bytes().all(plain), || {
        format!("1 to {NAME_MAX} letters, digits, `.`, `_` or `-`")
    })
}

fn is_sha256(digest: &str) -> bool {
    digest.len() == 64
        && digest
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= METRIC_NAME_MAX
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn require(
    field: &'static str,
    holds: bool,
    expected: impl FnOnce() -> String,
) -> Result<(), FieldError> {
    if holds {
        return Ok(());
    }
    Err(FieldError {
        field,
        expected: expected(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn good() -> Registration {
        Registration {
            project: "ant-quic".into(),
            node: "saorsa-4".into(),
            tester: "saorsa-quic-test".into(),
            stack_version: "0.27.61+git.ab12 (dirty)".into(),
            digest: "0123456789abcdef".repeat(4),
            pid: 1,
            local: None,
        }
    }

    fn refused(change: impl FnOnce(&mut Registration)) -> &'static str {
        let mut registration = good();
        change(&mut registration);
        check_registration(&registration).unwrap_err().field
    }

    #[test]
    fn a_usual_registration_passes() {
        assert_eq!(check_registration(&good()), Ok(()));
    }

    #[test]
    fn each_bad_field_is_named() {
        assert_eq!(refused(|r| r.project = String::new()), "project");
        assert_eq!(refused(|r| r.project = "a/b".into()), "project");
        assert_eq!(refused(|r| r.node = "<script>".into()), "node");
        assert_eq!(refused(|r| r.node = "a\nb".into()), "node");
        assert_eq!(refused(|r| r.tester = "x".repeat(65)), "tester");
        assert_eq!(
            refused(|r| r.stack_version = "1\u{1b}[31m".into()),
            "stack_version"
        );
        assert_eq!(refused(|r| r.digest = "AB".repeat(32)), "digest");
        assert_eq!(refused(|r| r.digest = "ab".repeat(31)), "digest");
    }

    #[test]
    fn metric_names_are_prometheus_names() {
        let beat = |name: &str| Heartbeat {
            peer: "p".into(),
            metrics: BTreeMap::from([(name.to_owned(), 1.0)]),
            log: Vec::new(),
        };
        assert!(check_heartbeat(&beat("attempts_total")).is_ok());
        for bad in ["", "9lives", "a-b", "a{b=\"c\"}", "a\nb", "é"] {
            assert!(check_heartbeat(&beat(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_heartbeat_carries_a_bounded_number_of_values() {
        let many = Heartbeat {
            peer: "p".into(),
            metrics: (0..=METRICS_MAX).map(|i| (format!("m{i}"), 0.0)).collect(),
            log: Vec::new(),
        };
        assert!(check_heartbeat(&many).is_err());
    }
}
