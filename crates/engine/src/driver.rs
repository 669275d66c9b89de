//! The loop: ask the run what to do, do it, journal it.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::join_all;
use model::event::{Entry, Event, Plan, StopCause};
use model::inventory::NodeName;
use model::proof::{self, Collected, Proof};
use model::run::{Action, IllegalEvent, Run, State};
use tokio::sync::watch;

use crate::deployment::Parts;
use crate::fix;
use crate::git::GitError;
use crate::journal::{Journal, JournalError};
use crate::live::Live;
use crate::markdown;
use crate::recorder::{RecordError, Recorder, Sink};
use crate::run_dir::{RunDir, RunDirError, file_time};
use crate::settings::Settings;
use crate::steps::{self, RealSteps, StepError, Steps};

/// How much of a unit's log goes into the run directory.
const LOG_LINES: u32 = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Directory(#[from] RunDirError),
    #[error("the journal `{path}` contradicts itself at entry {seq}")]
    Replay {
        path: PathBuf,
        seq: u64,
        source: IllegalEvent,
    },
    #[error("`{path}` holds no confirmed plan: the run ended before it began; start it again")]
    NothingThere { path: PathBuf },
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("the run is in {state} and waits for no fix; `resume` goes on with it")]
    NotParked { state: State },
    #[error("the run `{path}` is COMPLETE and its proof is written; there is nothing to resume")]
    Complete { path: PathBuf },
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
    pub document: PathBuf,
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
    stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    let recorder = Recorder::new(Journal::create(&dir.journal())?, Run::default(), sinks);
    recorder.record(Event::Confirmed(plan.into()))?;
    let mut steps = RealSteps::new(settings, dir, &recorder)?;
    go_on(&mut steps, &recorder, dir, stop).await
}

/// What a run that is resumed is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Go on where you were.
    AsItWas,
    /// A person has mended what failed: build it.
    Fixed,
}

fn check_parked(run: &Run) -> Result<(), RunError> {
    match (run.state, &run.failure) {
        (State::Fix, Some(_)) if !run.step_done => Ok(()),
        (state, _) => Err(RunError::NotParked { state }),
    }
}

fn fixed(settings: &Settings, recorder: &Recorder, dir: &RunDir) -> Result<(), RunError> {
    if let Some(found) = recorder.with(|run| run.failure.clone()) {
        let fix = fix::fixed_by_hand(settings, dir, &found)?;
        recorder.record(Event::FixCommitted(fix))?;
    }
    Ok(())
}

/// Goes on with a run that was stopped or killed, at whatever event that was.
///
/// # Errors
/// As [`run`]; or there is nothing to resume.
pub async fn resume(
    how: How,
    settings: &Settings,
    dir: &RunDir,
    sinks: Vec<Box<dyn Sink>>,
    stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    let (journal, run) = reopen(dir)?;
    let recorder = Recorder::new(journal, run, sinks);
    begin_again(how, &recorder, dir)?;
    if how == How::Fixed {
        fixed(settings, &recorder, dir)?;
    }
    let mut steps = RealSteps::new(settings, dir, &recorder)?;
    go_on(&mut steps, &recorder, dir, stop).await
}

/// The journal, to go on with, and the run that it tells.
pub(crate) fn reopen(dir: &RunDir) -> Result<(Journal, Run), RunError> {
    let (journal, entries) = Journal::open(&dir.journal())?;
    Ok((journal, fold(dir, &entries)?))
}

fn fold(dir: &RunDir, entries: &[Entry]) -> Result<Run, RunError> {
    let path = dir.journal();
    let mut run = Run::default();
    for entry in entries {
        run.apply(entry.at, &entry.event)
            .map_err(|source| RunError::Replay {
                path: path.clone(),
                seq: entry.seq,
                source,
            })?;
    }
    if run.plan.is_none() {
        return Err(RunError::NothingThere { path });
    }
    Ok(run)
}

/// # Errors
/// The run is complete and its proof is written; or it waits for no fix.
pub fn check_resumable(how: How, run: &Run, dir: &RunDir) -> Result<(), RunError> {
    if run.plan.is_none() {
        let path = dir.journal();
        return Err(RunError::NothingThere { path });
    }
    if how == How::Fixed {
        check_parked(run)?;
    }
    if run.state == State::Complete && dir.proof().exists() {
        let path = dir.path().into();
        return Err(RunError::Complete { path });
    }
    Ok(())
}

/// What was in flight when the run ended is journalled as interrupted. A run that
/// is complete wants nothing but its proof.
pub(crate) fn begin_again(how: How, recorder: &Recorder, dir: &RunDir) -> Result<(), RunError> {
    recorder.with(|run| check_resumable(how, run, dir))?;
    if recorder.with(|run| run.state == State::Complete) {
        return Ok(());
    }
    recorder.record(Event::Resumed)?;
    // Of the end that is none any more.
    let _ = std::fs::remove_file(dir.proof());
    interrupt_attempts(recorder)?;
    Ok(())
}

/// From wherever the run is to its end, and the proof of it.
pub(crate) async fn go_on(
    steps: &mut dyn Steps,
    recorder: &Recorder,
    dir: &RunDir,
    mut stop: watch::Receiver<bool>,
) -> Result<Ended, RunError> {
    let asked = tokio::select! {
        done = drive(steps, recorder) => { done?; false }
        _ = stop.wait_for(|stop| *stop) => true,
    };
    if asked {
        interrupt(recorder)?;
    }
    finish(steps, recorder, dir).await
}

async fn drive(steps: &mut dyn Steps, recorder: &Recorder) -> Result<(), RecordError> {
    loop {
        match recorder.with(|run| run.next(recorder.now())) {
            Action::Enter(state) => recorder.record(Event::Entered { state })?,
            Action::Perform(state) => perform(steps, recorder, state).await?,
            Action::BeginWait { state, until } => {
                recorder.record(Event::WaitBegan { state, until })?
            }
            Action::SleepUntil(until) => {
                let waited = steps.wait(until, recorder).await;
                unless_infrastructure(recorder, waited)?;
            }
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
    steps: &mut dyn Steps,
    recorder: &Recorder,
    state: State,
) -> Result<(), RecordError> {
    let done = match state {
        State::Restart => Ok(()),
        _ => steps.perform(state, recorder).await,
    };
    match done {
        // A TEST ends with its judgement, a build that failed with its failure,
        // and a step that found its ground gone has moved elsewhere.
        Ok(()) if recorder.with(|run| run.state != state || run.build_failure.is_some()) => Ok(()),
        // FIX is told of one attempt after the other, until one is committed.
        Ok(()) if matches!(state, State::Test | State::Fix) => Ok(()),
        Ok(()) => recorder.record(Event::Finished { state }),
        failed => unless_infrastructure(recorder, failed),
    }
}

/// Hosts and tools that fail us end the run, which can be resumed.
fn unless_infrastructure(
    recorder: &Recorder,
    done: Result<(), StepError>,
) -> Result<(), RecordError> {
    match done {
        Ok(()) => Ok(()),
        Err(StepError::Record(error)) => Err(error),
        Err(StepError::Infrastructure(detail)) => {
            interrupt_attempts(recorder)?;
            recorder.record(Event::Stopped {
                cause: StopCause::Infrastructure,
                detail,
            })
        }
    }
}

/// Somebody asked us to stop: attempts in flight are journalled as interrupted.
fn interrupt(recorder: &Recorder) -> Result<(), RecordError> {
    interrupt_attempts(recorder)?;
    if recorder.with(|run| run.next(recorder.now()) == Action::Rest) {
        return Ok(());
    }
    recorder.record(Event::Stopped {
        cause: StopCause::Requested,
        detail: "stopped on request".into(),
    })
}

fn interrupt_attempts(recorder: &Recorder) -> Result<(), RecordError> {
    for id in recorder.with(|run| run.in_flight.keys().cloned().collect::<Vec<_>>()) {
        recorder.record(Event::AttemptInterrupted { id })?;
    }
    Ok(())
}

async fn finish(
    steps: &mut dyn Steps,
    recorder: &Recorder,
    dir: &RunDir,
) -> Result<Ended, RunError> {
    let plan = recorder.with(|run| run.plan.clone());
    let plan = plan.ok_or_else(|| RunError::NothingThere {
        path: dir.journal(),
    })?;
    let collected = steps.collect(recorder, &plan, dir).await?;
    let now = recorder.now();
    let (proof, stopped) = recorder.with(|run| {
        (
            proof::build(run, &plan, collected, now),
            run.stopped.as_ref().map(|(cause, _)| *cause),
        )
    });
    let json = serde_json::to_string_pretty(&proof).map_err(|e| JournalError::Io {
        action: "encode the proof of",
        path: dir.journal(),
        source: e.into(),
    })?;
    let name = format!("proof-{}.md", file_time(now));
    let document = dir.write(
        &name,
        markdown::render(&proof, &dir.path().display().to_string()),
    )?;
    // Last, as a complete run without it is one whose proof is still to be written.
    dir.write("proof.json", json)?;
    if stopped.is_none() {
        let _ = std::fs::remove_dir_all(dir.binaries());
    }
    Ok(Ended {
        proof,
        stopped,
        document,
    })
}

pub(crate) async fn collect(
    settings: &Settings,
    recorder: &Recorder,
    plan: &Plan,
    dir: &RunDir,
    live: &Live,
) -> Result<Collected, RunDirError> {
    let mut collected = Collected::default();
    let mode = proof::mode_of(plan);
    if mode.wants_logs() {
        collected.evidence.logs = logs(recorder, dir, live, "logs").await?;
    }
    if mode.wants_metrics() {
        collected.evidence.metrics = metrics(settings, dir, live).await?;
    }
    if let Some(observer) = &settings.observer {
        collected.wan = observer.wan().await.ok().flatten();
    }
    let commits = |run: &Run| run.fixes().filter_map(|fix| fix.commit.clone()).collect();
    collected.evidence.fix_commits = recorder.with(commits);
    Ok(collected)
}

/// `INTO/NODE.UNIT.log`, of every unit that was deployed. A host that cannot say
/// any more leaves its reason in the file.
pub(crate) async fn logs(
    recorder: &Recorder,
    dir: &RunDir,
    live: &Live,
    into: &str,
) -> Result<Vec<String>, RunDirError> {
    let wanted: std::collections::BTreeSet<_> = recorder.with(|run| {
        run.deployed
            .iter()
            .map(|d| (d.node.clone(), d.unit.clone()))
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
                format!("{into}/{node}.{}.log", unit.trim_end_matches(".service")),
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
