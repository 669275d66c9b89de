//! The program under test: where it is, and how it is started.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use model::protocol::{Failure, Reason};
use tokio::process::Command;

pub const NAME: &str = "communitas-mcp";

/// Installed beside this tester: a unit runs a link in the directory that holds it.
pub fn path() -> Result<PathBuf, Failure> {
    let own = std::env::args_os().next().map(PathBuf::from);
    let beside = own
        .as_deref()
        .and_then(Path::parent)
        .map(|dir| dir.join(NAME));
    beside.filter(|path| path.exists()).ok_or_else(|| {
        Failure::new(
            Reason::Infrastructure,
            format!(
                "there is no `{NAME}` beside this tester; is it among the module's companions?"
            ),
        )
    })
}

/// With everything that it keeps in this directory. The identity is a temporary one:
/// `--demo` asks for no vault and no password.
pub fn command(storage: &Path, more: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(path()?);
    command
        .args(["--demo", "--display-name", "vps-test", "--storage-dir"])
        .arg(storage)
        .args(more)
        .env("HOME", storage)
        .env("XDG_DATA_HOME", storage)
        .env("RUST_LOG", "warn")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    Ok(command)
}

/// What every client says first.
pub fn introduction() -> serde_json::Value {
    serde_json::json!({
        "protocolVersion": "2024-11-05",
        "capabilities": {},
        "clientInfo": { "name": "vps-test", "version": env!("CARGO_PKG_VERSION") },
    })
}

/// What the program says of itself: whatever was installed is what is tested.
pub fn version() -> Option<String> {
    let output = std::process::Command::new(path().ok()?)
        .arg("--version")
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.split_whitespace().last().map(str::to_owned)
}

/// A directory that goes with whoever holds it.
pub fn storage() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("communitas-test-")
        .tempdir()
        .map_err(|e| {
            Failure::new(
                Reason::Infrastructure,
                format!("no temporary directory: {e}"),
            )
        })
}
