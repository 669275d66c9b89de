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
    ("clippy apart", clippy_apart),
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
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    for (folder, _) in shell::APART {
        let manifest = format!("{folder}/Cargo.toml");
        shell::run(shell::cargo().args(["fmt", "--check", "--manifest-path", &manifest]))?;
    }
    Ok(())
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

/// As the compiler of a build rather than by `cargo clippy`: that would check hundreds of
/// dependencies, and `cargo xtask test` needs them built.
fn clippy_apart() -> anyhow::Result<()> {
    for apart in shell::APART {
        let mut build = shell::cargo_apart(&["build", "--all-targets", "--locked"], apart)?;
        build.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
        // How `cargo clippy -- -D warnings` hands it on.
        build.env(
            "CLIPPY_ARGS",
            "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
        );
        shell::run(&mut build)?;
    }
    Ok(())
}
