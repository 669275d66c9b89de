//! The loop: ask the run what to do, do it, journal it.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use model::event::{Event, Plan, StopCause};
use model::inventory::NodeName;
use model::proof::{self, Collected, Proof};
use model::run::{Action, Run, State};
use tokio::sync::watch;

use crate::deployment::Parts;
use crate::journal::{Journal, JournalError};
use crate::live::Live;
use crate::markdown;
use crate::recorder::{RecordError, Recorder, Sink};
use crate::run_dir::{RunDir, RunDirError, file_time};
use crate::settings::Settings;
use crate::steps::{self, Stage, StepError};

/// How much of a unit's log goes into the run directory.
const LOG_LINES: u32 = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Directory(#[from] RunDirError),
}

impl From<JournalError> for RunError {
    fn from(error: JournalError) -> Self {
        Self::Record(error.into())
    }
}

/// A run that is over, or that waits to be resumed.
#[derive(Debug)]
pub struct Ended {
    pub proof: Proof,
    pub stopped: Option<StopCause>,
    /// `proof-<timestamp>.md`
    pub document: std::path::PathBuf,
}

/// Runs a plan to its end. `stop` turning true ends it in order: what was
/// measured is kept, and a proof is written.
///
/// # Errors
/// The journal or the run directory cannot be written; anything else ends in the
/// proof.
pub async fn run(
    settings: &Settings,
    plan: Plan,
    dir: &RunDir,
    sinks: Vec<Box<dyn Sink>>,
    mut stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    let recorder = Recorder::new(Journal::create(&dir.journal())?, Run::default(), sinks);
    recorder.record(Event::Confirmed(plan.clone().into()))?;
    let mut live = Live::default();
    let asked = tokio::select! {
        done = drive(settings, &recorder, &mut live) => { done?; false }
        _ = stop.wait_for(|stop| *stop) => true,
    };
    if asked {
        interrupt(&recorder)?;
    }
    finish(settings, &recorder, &plan, dir, &live).await
}

async fn drive(
    settings: &Settings,
    recorder: &Recorder,
    live: &mut Live,
) -> Result<(), RecordError> {
    loop {
        match recorder.with(|run| run.next(Timestamp::now())) {
            Action::Enter(state) => recorder.record(Event::Entered { state })?,
            Action::Perform(state) => perform(settings, recorder, live, state).await?,
            Action::BeginWait { state, until } => {
                recorder.record(Event::WaitBegan { state, until })?
            }
            Action::SleepUntil(until) => sleep_until(until).await,
            Action::Complete => recorder.record(Event::Completed)?,
            Action::Stop(cause) => recorder.record(Event::Stopped {
                cause,
                detail: "the data did not decide".into(),
            })?,
            Action::Interview | Action::Rest => return Ok(()),
        }
    }
}

async fn perform(
    settings: &Settings,
    recorder: &Recorder,
    live: &mut Live,
    state: State,
) -> Result<(), RecordError> {
    let mut stage = Stage {
        settings,
        recorder,
        live,
    };
    let done = match state {
        State::Setup => steps::setup::perform(&mut stage).await,
        State::BuildLocal => steps::build::perform(&mut stage).await,
        State::Deploy => steps::deploy::perform(&mut stage).await,
        State::Test => steps::test::perform(&mut stage).await,
        State::Fix => return nobody_fixes(recorder),
        _ => Ok(()),
    };
    match done {
        // A TEST ends with its judgement, a build that failed with its failure.
        Ok(()) if state == State::Test || recorder.with(|run| run.build_failure.is_some()) => {
            Ok(())
        }
        Ok(()) => recorder.record(Event::Finished { state }),
        Err(StepError::Record(error)) => Err(error),
        Err(StepError::Infrastructure(detail)) => recorder.record(Event::Stopped {
            cause: StopCause::Infrastructure,
            detail,
        }),
    }
}

/// The fix loop is not built yet: a failure ends the run, with its reason.
fn nobody_fixes(recorder: &Recorder) -> Result<(), RecordError> {
    let detail = recorder.with(|run| {
        if run.builds.is_empty() {
            "the tester does not build".to_owned()
        } else {
            "the criteria are not met".to_owned()
        }
    });
    recorder.record(Event::Stopped {
        cause: StopCause::Failed,
        detail,
    })
}

/// In steps, as the machine's clock may jump when it wakes up.
async fn sleep_until(until: Timestamp) {
    let left = until.duration_since(Timestamp::now());
    let left = std::time::Duration::try_from(left).unwrap_or_default();
    tokio::time::sleep(left.min(std::time::Duration::from_secs(10))).await;
}

/// Somebody asked us to stop: attempts in flight are journalled as interrupted.
fn interrupt(recorder: &Recorder) -> Result<(), RecordError> {
    for id in recorder.with(|run| run.in_flight.keys().cloned().collect::<Vec<_>>()) {
        recorder.record(Event::AttemptInterrupted { id })?;
    }
    if recorder.with(|run| run.next(Timestamp::now()) == Action::Rest) {
        return Ok(());
    }
    recorder.record(Event::Stopped {
        cause: StopCause::Requested,
        detail: "stopped on request".into(),
    })
}

async fn finish(
    settings: &Settings,
    recorder: &Recorder,
    plan: &Plan,
    dir: &RunDir,
    live: &Live,
) -> Result<Ended, RunError> {
    let collected = collect(settings, recorder, plan, dir, live).await?;
    let now = Timestamp::now();
    let (proof, stopped) = recorder.with(|run| {
        (
            proof::build(run, plan, collected, now),
            run.stopped.as_ref().map(|(cause, _)| *cause),
        )
    });
    let json = serde_json::to_string_pretty(&proof).map_err(|e| JournalError::Io {
        action: "encode the proof of",
        path: dir.journal(),
        source: e.into(),
    })?;
    dir.write("proof.json", json)?;
    let name = format!("proof-{}.md", file_time(now));
    let document = dir.write(
        &name,
        markdown::render(&proof, &dir.path().display().to_string()),
    )?;
    Ok(Ended {
        proof,
        stopped,
        document,
    })
}

async fn collect(
    settings: &Settings,
    recorder: &Recorder,
    plan: &Plan,
    dir: &RunDir,
    live: &Live,
) -> Result<Collected, RunDirError> {
    let mut collected = Collected::default();
    let mode = proof::mode_of(plan);
    if mode.wants_logs() {
        collected.evidence.logs = logs(recorder, dir, live).await?;
    }
    if mode.wants_metrics() {
        collected.evidence.metrics = metrics(settings, dir, live).await?;
    }
    if let Some(observer) = &settings.observer {
        collected.wan = observer.wan().await.ok().flatten();
    }
    Ok(collected)
}

/// `logs/NODE.UNIT.log`, of every unit that was deployed; peers of one node are in
/// one file, told apart by their process ids. A host that cannot say any more
/// leaves its reason in the file.
async fn logs(recorder: &Recorder, dir: &RunDir, live: &Live) -> Result<Vec<String>, RunDirError> {
    let wanted: std::collections::BTreeSet<_> = recorder.with(|run| {
        run.deployed
            .iter()
            .map(|d| (d.node.clone(), all_instances(&d.unit)))
            .collect()
    });
    let fetches = wanted.iter().filter_map(|(node, unit)| {
        let host = Arc::clone(live.hosts.get(node)?);
        let since = recorder.with(|run| began(run, node));
        Some(async move {
            let text = host
                .journal_since(unit, LOG_LINES, since)
                .await
                .unwrap_or_else(|e| format!("not collected: {e}\n"));
            (
                format!(
                    "logs/{node}.{}.log",
                    unit.trim_end_matches("*.service")
                        .trim_end_matches(".service")
                ),
                text,
            )
        })
    });
    let mut files = Vec::new();
    for (file, text) in join_all(fetches).await {
        dir.write(&file, text)?;
        files.push(file);
    }
    Ok(files)
}

/// `x@*.service` of `x@2.service`: what one look at the journal can ask for.
fn all_instances(unit: &str) -> String {
    match unit.split_once('@') {
        Some((name, _)) => format!("{name}@*.service"),
        None => unit.to_owned(),
    }
}

/// When the run began, by a node's own clock.
fn began(run: &Run, node: &NodeName) -> i64 {
    let skew = run.reached.get(node).map_or(0, |facts| facts.clock_skew_ms);
    let here = run.started_at.map_or(0, |at| at.as_millisecond());
    (here + skew).div_euclid(1000).max(0)
}

async fn metrics(
    settings: &Settings,
    dir: &RunDir,
    live: &Live,
) -> Result<Option<String>, RunDirError> {
    let parts = Parts::assign(settings, |name| live.hosts.contains_key(name));
    let Some(host) = parts
        .registry
        .as_ref()
        .and_then(|(name, _)| live.hosts.get(name))
    else {
        return Ok(None);
    };
    let answer = steps::deploy::fetch(
        settings,
        host,
        &parts,
        "/api/metrics",
        live.binaries.as_ref(),
    )
    .await;
    let Ok(text) = answer else { return Ok(None) };
    let file = "metrics/registry.json".to_owned();
    dir.write(&file, text)?;
    Ok(Some(file))
}
