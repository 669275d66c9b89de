//! Programs that a tester starts as processes of their own: built by `cargo install`,
//! once for each version, and kept for all runs of this user.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use fleet::Artifact;
use model::config::Companion;
use model::event::{Build, Event};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::build::keep;
use super::{Stage, StepError};
use crate::recorder::Progress;

/// Optimised as dependencies of the testers are: in a fifth of the time that a full
/// release build takes.
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

/// The program and its notice, as hosts get them.
pub async fn make(
    stage: &Stage<'_>,
    name: &str,
    companion: &Companion,
) -> Result<[Artifact; 2], StepError> {
    let began = Instant::now();
    let command = command(companion);
    let made = match cached(name, companion) {
        Some(made) => made,
        None => {
            install(stage, companion, &command).await?;
            cached(name, companion).ok_or_else(|| {
                let where_to = directory(companion).join("bin");
                StepError::Infrastructure(format!(
                    "`{command}` made no `{name}` in `{}`; is it the name of the crate's executable?",
                    where_to.display()
                ))
            })?
        }
    };
    let [program, _] = &made;
    stage.recorder.record(Event::Built(Build {
        binary: name.to_owned(),
        command,
        sha256: program.sha256.clone(),
        bytes: program.content.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
        warnings: 0,
    }))?;
    keep(stage.dir, program)?;
    Ok(made)
}

/// As it was built before.
pub fn cached(name: &str, companion: &Companion) -> Option<[Artifact; 2]> {
    let directory = directory(companion);
    let program = Artifact::read(&directory.join("bin").join(name)).ok()?;
    let notice = directory.join(format!("{name}.NOTICE"));
    std::fs::write(&notice, text(name, companion)).ok()?;
    Some([program, Artifact::read(&notice).ok()?])
}

fn text(name: &str, companion: &Companion) -> String {
    let Companion {
        package,
        version,
        licence,
    } = companion;
    format!(
        "{name} is {package} {version}, licensed under {licence}.
It is a program of its own: testers start it and link nothing of it.
Its source: https://crates.io/crates/{package}/{version}
"
    )
}

fn command(companion: &Companion) -> String {
    format!(
        "cargo install --locked {} --version {}",
        companion.package, companion.version
    )
}

async fn install(stage: &Stage<'_>, companion: &Companion, command: &str) -> Result<(), StepError> {
    let failed = |detail: String| StepError::Infrastructure(format!("`{command}` {detail}"));
    let root = directory(companion);
    std::fs::create_dir_all(&root)
        .map_err(|e| failed(format!("needs the directory `{}`: {e}", root.display())))?;
    let scratch = tempfile::tempdir_in(&root).map_err(|e| failed(e.to_string()))?;
    let words = command.split(' ').collect::<Vec<_>>();
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(scratch.path())
        .envs(PROFILE.iter().copied())
        // What wraps the user's own crates has no business with somebody else's.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(format!("cannot be run: {e}")))?;
    let mut last = String::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            stage.recorder.progress(&Progress::BuildLine(line.clone()));
            if line.starts_with("error") || last.is_empty() {
                last = line;
            }
        }
    }
    let status = child.wait().await.map_err(|e| failed(e.to_string()))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(format!("failed: {last}")))
}

/// One for each version: another one is another program.
fn directory(companion: &Companion) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(home).unwrap_or_else(std::env::temp_dir);
    cache
        .join("vps-test/companions")
        .join(format!("{}-{}", companion.package, companion.version))
}
