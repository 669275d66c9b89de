//! What must hold of the source, checked without the network.

mod features;
mod licences;
mod source;

use anyhow::bail;

use crate::{generate, shell};

type Check = (&'static str, fn() -> anyhow::Result<()>);

const CHECKS: &[Check] = &[
    ("format", format),
    ("source rules", source::check),
    ("generated files", || generate::run(true)),
    ("licences, bans and sources", licences::check),
    ("one feature set", features::check),
    ("clippy", clippy),
];

/// Runs every check, so that one run shows all that is wrong.
pub fn run() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        match check() {
            Ok(()) => eprintln!("lint: {name}: ok"),
            Err(error) => {
                eprintln!("lint: {name}: {error:#}");
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    Ok(())
}

fn format() -> anyhow::Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    shell::run(shell::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}
