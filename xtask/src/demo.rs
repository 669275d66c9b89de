//! From a fresh clone to a proof.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::{setup, shell};

/// What the README shows; the twin boots where none is up and goes afterwards.
const START: &[&str] = &[
    "start",
    "ant-quic",
    "connectivity",
    "threshold",
    "all-evidence",
    "--yes",
    "--soak",
    "0",
];

const BUILT: [&str; 8] = [
    "-p",
    "vps-test",
    "-p",
    "saorsa-quic-test",
    "-p",
    "udp-test",
    "-p",
    "registry",
];

pub fn run(keep: bool) -> anyhow::Result<ExitCode> {
    setup::run()?;
    // With the testers, so that the run's own build finds what it needs.
    shell::run(shell::cargo().arg("build").args(BUILT))?;
    let target = shell::target_directory()?;
    let mut start = shell::as_root(target.join("debug/vps-test"))?;
    start.current_dir(shell::workspace()).args(START);
    if keep {
        start.arg("--keep");
    }
    let status = shell::status(&mut start)?;
    give_back(&target)?;
    Ok(shell::exit_code(status))
}

/// The run, as root, built the testers: the next build is the user's again.
pub fn give_back(target: &Path) -> anyhow::Result<()> {
    if shell::is_root()? {
        return Ok(());
    }
    let mut owner = Vec::new();
    for flag in ["-u", "-g"] {
        let output = shell::capture(Command::new("id").arg(flag))?;
        owner.push(String::from_utf8_lossy(output.stdout.trim_ascii()).into_owned());
    }
    let mut chown = shell::as_root("chown")?;
    shell::run(chown.args(["--recursive", &owner.join(":")]).arg(target))
}
