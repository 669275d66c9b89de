//! The heavy stacks compile once: a package that is built alone has the features
//! that it has as a member of the workspace (docs/decisions/0004).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;

use crate::shell;

/// What is built by itself: this program, and each tester with what a run builds besides.
const ALONE: [&[&str]; 6] = [
    &["xtask"],
    &["udp-test", "registry"],
    &["saorsa-quic-test", "udp-test", "registry"],
    &["saorsa-gossip-test", "udp-test", "registry"],
    &["saorsa-core-test", "udp-test", "registry"],
    &["communitas-test", "udp-test", "registry"],
];

pub fn check() -> anyhow::Result<()> {
    let together = features(&["--workspace"])?;
    let mut missing = Vec::new();
    for packages in ALONE {
        let selected: Vec<_> = packages.iter().flat_map(|name| ["-p", name]).collect();
        for (package, alone) in &features(&selected)? {
            let lacking = together.get(package);
            let lacking = lacking.and_then(|all| difference(package, alone, all));
            missing.extend(lacking.map(|lacking| format!("{}: {lacking}", packages[0])));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "these compile twice, and so does all that stands on them; name them with \
         these features in crates/agent/Cargo.toml (or xtask's) and the workspace's:\n  {}",
        missing.join("\n  ")
    )
}

/// Of each `name version` the features that it is built with: those of macros and build
/// scripts, and what these stand on, are another set.
type Features = BTreeMap<String, BTreeSet<String>>;

fn features(selected: &[&str]) -> anyhow::Result<Features> {
    let mut tree = shell::cargo();
    tree.args(["tree", "--locked", "--prefix", "none", "--no-dedupe"])
        .args(["--edges", "normal,build", "--format", "{p}|{f}"])
        .args(selected);
    let said = shell::capture(&mut tree)?;
    let mut all = Features::new();
    for line in String::from_utf8_lossy(&said.stdout).lines() {
        if let Some((package, features)) = line.split_once('|') {
            let sets = all.entry(package.to_owned()).or_default();
            sets.insert(features.to_owned());
        }
    }
    Ok(all)
}

/// `alone` has a set that is none of those `together`.
fn difference(
    package: &str,
    alone: &BTreeSet<String>,
    together: &BTreeSet<String>,
) -> Option<String> {
    let own = alone.difference(together).next()?;
    let own: BTreeSet<&str> = own.split(',').collect();
    let all = together.iter().flat_map(|set| set.split(','));
    let missing: BTreeSet<&str> = all.filter(|feature| !own.contains(feature)).collect();
    let missing: Vec<&str> = missing.into_iter().collect();
    Some(format!("{package}: {}", missing.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(sets: &[&str]) -> BTreeSet<String> {
        sets.iter().map(|set| (*set).to_owned()).collect()
    }

    #[test]
    fn names_what_is_missing() {
        let together = sets(&["default,std", "default,extra_traits,std"]);
        let said = difference("libc v0.2.1", &sets(&["std"]), &together);
        assert_eq!(said.as_deref(), Some("libc v0.2.1: default, extra_traits"));
        assert_eq!(
            difference("libc v0.2.1", &sets(&["default,std"]), &together),
            None
        );
    }
}
