//! Running other programs, as ourselves or as root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Output};

use anyhow::{Context as _, bail};

/// Tools of the system's administrator, which a user's PATH may lack.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The root of this repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a directory of the workspace")
}

/// Crates of this repository that are workspaces of their own, with what each is built
/// into below cargo's target directory, as a run does it (docs/decisions/0010).
pub const APART: [(&str, &str); 1] = [("crates/node-test", "node-test")];

/// `cargo WORDS` for a workspace of its own.
pub fn cargo_apart(words: &[&str], (folder, target): (&str, &str)) -> anyhow::Result<Command> {
    let mut command = cargo();
    command.args(words);
    command.args(["--manifest-path", &format!("{folder}/Cargo.toml")]);
    command.arg("--target-dir");
    command.arg(target_directory()?.join(target));
    Ok(command)
}

/// The cargo that runs us, in the workspace.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace());
    // What cargo says of xtask is of no use to what xtask builds, and would make
    // build scripts that look at it (ring's does) run again.
    for (name, _) in std::env::vars_os() {
        let word = name.to_string_lossy();
        if word.starts_with("CARGO_PKG_") || word.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Wherever cargo puts what it builds.
pub fn target_directory() -> anyhow::Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let output = capture(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cannot read `cargo metadata`")?;
    Ok(metadata.target_directory)
}

/// Shows the command, runs it and fails where it fails.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Shows the command and runs it.
pub fn status(command: &mut Command) -> anyhow::Result<ExitStatus> {
    eprintln!("\n$ {}", line(command));
    command
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))
}

/// Runs the command silently and fails, with what it said, where it fails.
pub fn capture(command: &mut Command) -> anyhow::Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{said}", line(command), output.status);
    }
    Ok(output)
}

/// A child's status as our own; a signal counts as 128 + its number, as in a shell.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;

    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

pub fn is_root() -> anyhow::Result<bool> {
    let output = capture(Command::new("id").arg("-u"))?;
    Ok(output.stdout.trim_ascii() == b"0")
}

/// What to put before a command so that it runs as root with our environment;
/// nothing where we are root. sudo resets PATH, even with `-E`.
pub fn root_prefix() -> anyhow::Result<Vec<OsString>> {
    if is_root()? {
        return Ok(Vec::new());
    }
    if find("sudo").is_none() {
        bail!("this needs root: run it as root, or install sudo");
    }
    let mut path = OsString::from("PATH=");
    path.push(search_path());
    Ok(vec!["sudo".into(), "-E".into(), "env".into(), path])
}

/// The program, as root.
pub fn as_root(program: impl Into<OsString>) -> anyhow::Result<Command> {
    let mut words = root_prefix()?;
    words.push(program.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    Ok(command)
}

/// Where the program lies, as root would find it.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_DIRECTORIES.iter().map(PathBuf::from);
    // A directory whose name holds a `:` was never part of PATH.
    std::env::join_paths(std::env::split_paths(&path).chain(system)).unwrap_or(path)
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
