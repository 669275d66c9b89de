//! Every test of the workspace. cargo builds as the user; the test programs run
//! as root, because most of the product is namespaces.

use std::ffi::OsStr;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::{demo, setup, shell};

/// Namespace tests measure milliseconds: side by side they would measure each other.
const THREADS: &str = "RUST_TEST_THREADS";

pub fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    setup::run()?;
    // Tests start these as a user would: the binaries must be there.
    shell::run(shell::cargo().args(["build", "--workspace"]))?;
    let mut test = shell::cargo();
    test.args(["test", "--no-fail-fast"]);
    if !names_a_package(args) {
        test.arg("--workspace");
    }
    test.args(args);
    if std::env::var_os(THREADS).is_none() {
        test.env(THREADS, "1");
    }
    let prefix = shell::root_prefix()?;
    if !prefix.is_empty() {
        let words: Vec<_> = prefix.iter().map(|word| word.to_string_lossy()).collect();
        test.env(runner_variable()?, words.join(" "));
    }
    let status = shell::status(&mut test)?;
    demo::give_back(&shell::target_directory()?)?;
    // Whoever asks for some tests asks for those of the workspace.
    if status.success() && args.is_empty() {
        return apart();
    }
    Ok(shell::exit_code(status))
}

/// The tests of the workspaces apart, as the user.
fn apart() -> anyhow::Result<ExitCode> {
    for apart in shell::APART {
        let mut test = shell::cargo_apart(&["test", "--locked"], apart)?;
        test.env(THREADS, "1");
        let status = shell::status(&mut test)?;
        if !status.success() {
            return Ok(shell::exit_code(status));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn names_a_package(args: &[String]) -> bool {
    args.iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
}

/// cargo's own variable for "run what you built with this in front".
fn runner_variable() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsStr::new("rustc").to_owned());
    let output = shell::capture(Command::new(rustc).arg("-vV"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let host = said
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?;
    let host = host.to_uppercase().replace(['-', '.'], "_");
    Ok(format!("CARGO_TARGET_{host}_RUNNER"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_named_package_is_tested_alone() {
        assert!(names_a_package(&words("-p lab")));
        assert!(names_a_package(&words("--package=lab name")));
        assert!(!names_a_package(&words("name -- -p")));
        assert!(!names_a_package(&words("name")));
    }

    #[test]
    fn the_runner_variable_is_the_hosts() {
        let variable = runner_variable().unwrap();
        assert!(variable.starts_with("CARGO_TARGET_") && variable.ends_with("_RUNNER"));
        assert!(!variable.contains('-'));
    }
}
