//! `vps-test stop`: end a run in order, so that it can be gone on with.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use engine::{Claim, Holder, RunDir};
use jiff::Timestamp;
use model::status::Status;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit;
use crate::runs::{self, Loop};

#[derive(Debug, Args)]
pub struct StopArgs {
    /// Whose run is to end
    project: String,
    /// How long to wait until it has ended
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

pub fn run(args: StopArgs) -> miette::Result<ExitCode> {
    let state_dir = runs::state_dir()?;
    let project = &args.project;
    let Some(holder) = Claim::holder(&state_dir, project) else {
        return Err(nothing_runs(&state_dir, project)?);
    };
    signal(project, &holder)?;
    println!(
        "asked process {} to stop {project}; it collects logs and writes the proof",
        holder.pid
    );
    if !wait(&state_dir, project, &holder, Duration::from_secs(args.wait)) {
        let error = miette::miette!(
            help = format!(
                "look at it with `vps-test status {project}`; `kill -9 {}` loses nothing that the journal holds",
                holder.pid
            ),
            "{project} has not ended after {} s",
            args.wait
        );
        eprintln!("{error:?}");
        return Ok(ExitCode::from(exit::INFRASTRUCTURE));
    }
    print!("{}", left(project, holder.run.as_deref()));
    Ok(ExitCode::SUCCESS)
}

fn nothing_runs(state_dir: &Path, project: &str) -> miette::Result<miette::Report> {
    let newest = runs::known(state_dir, project)?.pop();
    let state = newest
        .and_then(|_| Loop::of(state_dir, project, Timestamp::now()))
        .and_then(|one| one.status?.ok())
        .map_or("unreadable".to_owned(), |status| status.state.to_string());
    Ok(miette::miette!(
        help = format!("`vps-test status {project}` shows its last run, which is {state}"),
        "nothing runs {project}"
    ))
}

/// The claim was looked at a moment ago: its lock is held, by this very process.
fn signal(project: &str, holder: &Holder) -> miette::Result<()> {
    let pid = i32::try_from(holder.pid).map(Pid::from_raw);
    let sent = pid
        .map_err(|_| Errno::ESRCH)
        .and_then(|pid| kill(pid, Signal::SIGTERM));
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(exit::Infrastructure::from_error(&std::io::Error::other(
            format!(
                "cannot signal process {} of {project}: {error}; it belongs to another user: use sudo",
                holder.pid
            ),
        ))),
    }
}

/// Whether it ended in time.
fn wait(state_dir: &Path, project: &str, holder: &Holder, limit: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < limit {
        let now = Claim::holder(state_dir, project);
        if now.is_none_or(|now| now.pid != holder.pid || now.born != holder.born) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

fn left(project: &str, run: Option<&Path>) -> String {
    let Some(dir) = run.map(RunDir::open) else {
        return format!("{project} had not begun; nothing is left of it\n");
    };
    let run = dir.replay().ok();
    let status = run.and_then(|run| Status::of(&run, Timestamp::now()));
    let (state, services) = status.map_or_else(
        || ("ended".to_owned(), String::new()),
        |status| (state(&status), services(&status)),
    );
    format!(
        "{project} is {state}\n{services}  run       {}\n",
        dir.path().display()
    )
}

fn state(status: &Status) -> String {
    let attempts = status.attempts;
    format!(
        "{}: {} attempts succeeded and {} failed in its last test",
        status.state, attempts.succeeded, attempts.failed
    )
}

fn services(status: &Status) -> String {
    let words = match status.runs_on.strip_prefix("twin ") {
        Some(twin) if !crate::twin::is_up(twin) => {
            format!("went with the twin `{twin}`, which was booted for the run")
        }
        _ => format!(
            "run on as configured, on {}; `vps-test clean` removes them",
            status.runs_on
        ),
    };
    format!("  services  {words}\n")
}
