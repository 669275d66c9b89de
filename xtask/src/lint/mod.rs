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

const DENIED: &str = "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__";

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
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    for (folder, _) in shell::APART {
        let manifest = format!("{folder}/Cargo.toml");
        shell::run(shell::cargo().args(["fmt", "--check", "--manifest-path", &manifest]))?;
    }
    Ok(())
}

/// As the compiler of a build, rather than by `cargo clippy`, which would check hundreds
/// of dependencies that tests need built. With the same two variables around them
/// (`.ci/run`), tests run what was made here.
fn clippy() -> anyhow::Result<()> {
    let mut workspace = shell::cargo();
    workspace.args(["build", "--workspace", "--all-targets", "--locked"]);
    let apart = shell::APART.map(|apart| {
        let words = ["build", "--all-targets", "--locked"];
        shell::cargo_apart(&words, apart)
    });
    for build in [Ok(workspace)].into_iter().chain(apart) {
        let mut build = build?;
        build.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
        // How `cargo clippy -- -D warnings` hands it on.
        build.env("CLIPPY_ARGS", DENIED);
        shell::run(&mut build)?;
    }
    Ok(())
}
