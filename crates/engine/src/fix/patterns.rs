//! What went wrong in logs, grouped: lines that differ in numbers, addresses and
//! times alone are one pattern.

use std::collections::{BTreeMap, BTreeSet};

/// How many patterns a reader is shown.
const SHOWN: usize = 25;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub count: usize,
    /// Names of the logs it is in.
    pub logs: BTreeSet<String>,
    pub example: String,
}

/// The most frequent first.
pub fn group<'a>(logs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Pattern> {
    let mut found: BTreeMap<String, Pattern> = BTreeMap::new();
    for (name, text) in logs {
        for line in text.lines().filter(|line| is_trouble(line)) {
            let message = message(line);
            let pattern = found.entry(shape(message)).or_insert_with(|| Pattern {
                count: 0,
                logs: BTreeSet::new(),
                example: message.chars().take(300).collect(),
            });
            pattern.count += 1;
            pattern.logs.insert(name.to_owned());
        }
    }
    let mut all: Vec<Pattern> = found.into_values().collect();
    all.sort_by(|a, b| {
        b.count
            .cmp(&a.count)
            .then_with(|| a.example.cmp(&b.example))
    });
    all.truncate(SHOWN);
    all
}

fn is_trouble(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    [
        "error",
        "warn",
        "panic",
        "fail",
        "fatal",
        "refused",
        "timed out",
    ]
    .iter()
    .any(|word| line.contains(word))
}

/// Without journald's time, host and program.
fn message(line: &str) -> &str {
    line.split_once("]: ").map_or(line, |(_, message)| message)
}

/// Runs of digits, and words of hexadecimal digits, are as good as each other.
fn shape(message: &str) -> String {
    let words = message.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|word| {
            let body = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_hex = body.len() >= 6 && body.chars().all(|c| c.is_ascii_hexdigit());
            if is_hex {
                word.replacen(body, "#", 1)
            } else {
                without_digits(word)
            }
        })
        .collect()
}

fn without_digits(word: &str) -> String {
    let mut shape = String::new();
    for c in word.chars() {
        if !c.is_ascii_digit() {
            shape.push(c);
        } else if !shape.ends_with('#') {
            shape.push('#');
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_in_numbers_are_one_pattern() {
        let one = "2026-01-01T00:00:00 cone udp-test[12]: WARN dial of 198.18.0.7:22001 failed: peer 3d83fb1d89 is silent
2026-01-01T00:00:01 cone udp-test[12]: INFO all is well
2026-01-01T00:00:02 cone udp-test[12]: WARN dial of 198.18.0.9:22417 failed: peer 77aa01bc00 is silent";
        let two = "2026-01-01T00:00:03 port udp-test[7]: WARN dial of 10.0.0.1:1 failed: peer 00aa11bb is silent
2026-01-01T00:00:04 port udp-test[7]: thread panicked";
        let found = group([("cone", one), ("port", two)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].count, found[0].logs.len()), (3, 2));
        assert!(found[0].example.starts_with("WARN dial of 198.18.0.7"));
    }
}
