//! The heavy stacks compile once: a package that is built alone has the features
//! that it has as a member of the workspace (docs/decisions/0004).

use std::collections::BTreeMap;

use anyhow::bail;

use crate::shell;

/// The testers that link a P2P stack. communitas-test links none, and is not worth
/// the many names.
const TESTERS: &[&str] = &["saorsa-quic-test", "saorsa-gossip-test", "saorsa-core-test"];

/// What a run builds besides.
const BESIDES: [&str; 4] = ["-p", "udp-test", "-p", "registry"];

pub fn check() -> anyhow::Result<()> {
    let together = features(&["--workspace"])?;
    let mut missing = Vec::new();
    for tester in TESTERS {
        let selected = [&["-p", tester], &BESIDES[..]].concat();
        for (package, alone) in &features(&selected)? {
            let lacking = together.get(package);
            let lacking = lacking.and_then(|all| difference(package, alone, all));
            missing.extend(lacking.map(|lacking| format!("{tester}: {lacking}")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "these compile twice, and so does all that stands on them; name them with \
         these features in crates/agent/Cargo.toml and the workspace's:\n  {}",
        missing.join("\n  ")
    )
}

/// Features by `name version`, of what runs on hosts: build scripts and macros
/// are compiled for this machine, whatever is selected.
fn features(selected: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut tree = shell::cargo();
    tree.args(["tree", "--locked", "--prefix", "none", "--no-dedupe"])
        .args(["--edges", "normal,no-proc-macro", "--format", "{p}|{f}"])
        .args(selected);
    let said = shell::capture(&mut tree)?;
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    let pairs = lines.lines().filter_map(|line| line.split_once('|'));
    Ok(pairs
        .map(|(package, features)| (package.to_owned(), features.to_owned()))
        .collect())
}

fn difference(package: &str, alone: &str, together: &str) -> Option<String> {
    let has = |feature: &&str| !alone.split(',').any(|other| other == *feature);
    let missing: Vec<&str> = together.split(',').filter(has).collect();
    (!missing.is_empty()).then(|| format!("{package}: {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let said = difference("libc v0.2.1", "default,std", "default,extra_traits,std");
        assert_eq!(said.as_deref(), Some("libc v0.2.1: extra_traits"));
        assert_eq!(difference("libc v0.2.1", "default", "default"), None);
    }
}
