//! The programs of a fix: the fixer itself, and the local tests. Each runs in a
//! process group of its own, and none outlives the run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use model::config::{FixAgent, FixConfig};
use tokio::process::Command;

/// How much of a failed program's output is quoted.
const LAST_LINES: usize = 20;

/// What one is run with.
pub struct Job<'a> {
    pub words: &'a [String],
    pub dir: &'a Path,
    pub environment: &'a [(&'static str, String)],
    /// Where all it says goes.
    pub log: &'a Path,
    pub limit: Duration,
    /// Says which group runs, for whoever comes after a crash.
    pub record: &'a Path,
}

/// The words of the configured fixer; `None` where there is none.
pub fn command(config: &FixConfig, bundle: &Path) -> Option<Result<Vec<String>, String>> {
    let bundle = bundle.display().to_string();
    if let Some(line) = &config.command {
        return Some(match shell_words::split(line) {
            Ok(words) if !words.is_empty() => Ok([words, vec![bundle]].concat()),
            _ => Err(format!("fix.command `{line}` is not a command line")),
        });
    }
    let task = format!(
        "Read {bundle}/README.md. It says which tests of this repository failed on real hosts, \
         and what may not be changed. Find the cause and mend it in the current directory with as \
         small a change as you can. Do not commit."
    );
    let words: &[&str] = match config.agent? {
        FixAgent::Claude => &[
            "claude",
            "-p",
            &task,
            "--permission-mode",
            "acceptEdits",
            "--add-dir",
            &bundle,
        ],
        FixAgent::Codex => &["codex", "exec", "--full-auto", &task],
    };
    Some(Ok(words.iter().map(|word| (*word).to_owned()).collect()))
}

/// Runs it to its end.
///
/// # Errors
/// In words: it could not be started, failed, or took too long.
pub async fn run(job: &Job<'_>) -> Result<(), String> {
    let shown = shell_words::join(job.words.iter().take(2));
    let cannot = |e: std::io::Error| format!("cannot run `{shown}`: {e}");
    let log = File::create(job.log).map_err(cannot)?;
    let (program, arguments) = job.words.split_first().ok_or("there is no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(job.dir)
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(cannot)?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    let group = Group::of(&child, job.record);
    let ended = tokio::time::timeout(job.limit, child.wait()).await;
    drop(group);
    match ended {
        Err(_) => Err(format!(
            "`{shown}` did not end within {} s",
            job.limit.as_secs()
        )),
        Ok(Err(e)) => Err(cannot(e)),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("`{shown}`: {status}\n{}", last_words(job.log))),
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// Ends with this value, and all that it started with it.
struct Group {
    id: Option<u32>,
    record: PathBuf,
}

impl Group {
    fn of(child: &tokio::process::Child, record: &Path) -> Self {
        let id = child.id();
        if let Some(id) = id {
            let _ = std::fs::write(record, id.to_string());
        }
        Self {
            id,
            record: record.into(),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            end(id);
        }
        let _ = std::fs::remove_file(&self.record);
    }
}

fn end(group: u32) {
    let _ = std::process::Command::new("kill")
        .args(["-KILL", "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status();
}

/// Ends a program that a killed controller left at work in this directory.
pub fn end_left_over(record: &Path, dir: &Path) {
    let Ok(text) = std::fs::read_to_string(record) else {
        return;
    };
    let works_here = std::fs::read_link(format!("/proc/{}/cwd", text.trim()))
        .is_ok_and(|cwd| cwd.starts_with(dir));
    if works_here && let Ok(group) = text.trim().parse() {
        end(group);
    }
    let _ = std::fs::remove_file(record);
}
