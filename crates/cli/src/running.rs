//! A run in this process, whether it was started or is resumed: who may have it,
//! who watches it, what ends it, and how its end is told.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engine::{Claim, ClaimError, Ended, Notifier, RunDir, RunError, Sink};
use jiff::Timestamp;
use model::config::Config;
use model::event::StopCause;
use model::stats::Verdict;
use tokio::sync::watch;

use crate::exit::{self, Infrastructure};
use crate::runs::Loop;
use crate::screen;

pub fn claim(state_dir: &Path, project: &str) -> miette::Result<Claim> {
    Claim::take(state_dir, project).map_err(|error| match error {
        ClaimError::Held { holder } => runs_already(state_dir, project, holder.as_ref()),
        other @ ClaimError::Io { .. } => Infrastructure::from_error(&other),
    })
}

/// Before anybody is asked anything.
pub fn refuse_second(state_dir: &Path, project: Option<&str>) -> miette::Result<()> {
    match project.and_then(|name| Some((name, Claim::holder(state_dir, name)?))) {
        Some((name, holder)) => Err(runs_already(state_dir, name, Some(&holder))),
        None => Ok(()),
    }
}

fn runs_already(
    state_dir: &Path,
    project: &str,
    holder: Option<&engine::Holder>,
) -> miette::Report {
    let state = Loop::of(state_dir, project, Timestamp::now())
        .and_then(|one| one.status?.ok())
        .map_or("starting".to_owned(), |status| status.state.to_string());
    let pid = holder.map_or(String::new(), |holder| {
        format!(" in process {}", holder.pid)
    });
    miette::miette!(
        help = format!(
            "watch it with `vps-test status {project} --watch`, or end it with `vps-test stop {project}`"
        ),
        "{project} runs already{pid}: it is in {state}"
    )
}

pub fn sinks(json: bool, config: &Config, dir: &RunDir) -> Vec<Box<dyn Sink>> {
    let screen: Box<dyn Sink> = if json {
        Box::new(screen::json::Lines)
    } else {
        Box::new(screen::live::Live::new())
    };
    let notifier = Notifier::new(&config.notify, default_hook(), dir.path().into());
    let notifier = notifier.map(|notifier| Box::new(notifier) as Box<dyn Sink>);
    std::iter::once(screen).chain(notifier).collect()
}

/// The request's own place for it.
fn default_hook() -> Option<PathBuf> {
    let hook = crate::project::home()?.join(".claude/hooks/notify.py");
    hook.is_file().then_some(hook)
}

/// Turns true when somebody asks for an end; from here on a signal kills nothing.
pub fn listen(runtime: &tokio::runtime::Runtime) -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(async move {
        asked_to_stop().await;
        let _ = stop.send(true);
        // The sender lives as long as the run: a dropped one is no request.
        std::future::pending::<()>().await;
    });
    stopped
}

/// Ctrl-C, or a termination.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// A word that does not fit the run is the user's; everything else is not.
pub fn of_run(error: RunError) -> miette::Report {
    match error {
        RunError::Complete { .. }
        | RunError::NothingThere { .. }
        | RunError::NotParked { .. }
        | RunError::AwaitsReview { .. } => miette::miette!("{error}"),
        other => Infrastructure::from_error(&other),
    }
}

pub fn show(ended: &Ended, dir: &RunDir, json: bool) {
    let document = ended.document.display().to_string();
    if json {
        let line = serde_json::json!({
            "ended": { "verdict": ended.proof.verdict, "summary": ended.proof.summary,
                       "run": dir.path(), "proof": document }
        });
        println!("{line}");
    } else {
        print!(
            "{}",
            screen::summary::render(
                &ended.proof,
                &document,
                ended.stopped,
                screen::Paint::detect()
            )
        );
    }
}

pub fn exit_code(ended: &Ended) -> ExitCode {
    match (ended.stopped, ended.proof.verdict) {
        (Some(StopCause::Infrastructure), _) => ExitCode::from(exit::INFRASTRUCTURE),
        (_, Verdict::Pass) => exit::PASS,
        (_, Verdict::Fail) => exit::fail(),
        (_, Verdict::Inconclusive) => exit::inconclusive(),
    }
}
