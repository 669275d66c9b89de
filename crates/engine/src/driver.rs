//! The loop: ask the run what to do, do it, journal it.

use std::path::PathBuf;

use model::event::{Entry, Event, Plan, StopCause};
use model::proof::Proof;
use model::run::{Action, IllegalEvent, Run, State};
use tokio::sync::watch;

use crate::documents::{self, DocumentError};
use crate::evidence;
use crate::fix;
use crate::git::GitError;
use crate::journal::{Journal, JournalError};
use crate::recorder::{RecordError, Recorder, Sink};
use crate::review;
use crate::run_dir::{RunDir, RunDirError};
use crate::settings::Settings;
use crate::steps::{RealSteps, StepError, Steps};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Directory(#[from] RunDirError),
    #[error(transparent)]
    Document(#[from] DocumentError),
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
    #[error("the run `{path}` waits for a person: `vps-test confirm` goes on with it")]
    AwaitsReview { path: PathBuf },
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
    recorder.record(Event::Environment(evidence::environment(dir)))?;
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
/// The run is complete and its proof is written; or it waits for no fix, or for a
/// person's word.
pub fn check_resumable(how: How, run: &Run, dir: &RunDir) -> Result<(), RunError> {
    let path = dir.path().into();
    if run.plan.is_none() {
        return Err(RunError::NothingThere {
            path: dir.journal(),
        });
    }
    if how == How::Fixed {
        check_parked(run)?;
    }
    if run.awaits_review() && dir.is_documented() {
        return Err(RunError::AwaitsReview { path });
    }
    if run.state == State::Complete && dir.is_documented() {
        return Err(RunError::Complete { path });
    }
    Ok(())
}

fn check_parked(run: &Run) -> Result<(), RunError> {
    match (run.state, &run.failure) {
        (State::Fix, Some(_)) if !run.step_done => Ok(()),
        (state, _) => Err(RunError::NotParked { state }),
    }
}

/// What was in flight when the run ended is journalled as interrupted. A run that
/// is complete, or that waits for a person, wants nothing but its documents.
pub(crate) fn begin_again(how: How, recorder: &Recorder, dir: &RunDir) -> Result<(), RunError> {
    recorder.with(|run| check_resumable(how, run, dir))?;
    if recorder.with(|run| run.state == State::Complete || run.awaits_review()) {
        return Ok(());
    }
    recorder.record(Event::Resumed)?;
    // Of the end that is none any more.
    dir.remove(crate::manifest::NAME)?;
    dir.remove("proof.json")?;
    interrupt_attempts(recorder)?;
    Ok(())
}

fn fixed(settings: &Settings, recorder: &Recorder, dir: &RunDir) -> Result<(), RunError> {
    if let Some(found) = recorder.with(|run| run.failure.clone()) {
        let fix = fix::fixed_by_hand(settings, dir, &found)?;
        recorder.record(Event::FixCommitted(fix))?;
    }
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
    let ended = finish(steps, recorder, dir).await;
    steps.leave().await;
    ended
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
                detail: recorder.with(|run| review::why_stopped(run, cause)),
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

/// The run is over; what is left is to gather and to write. All of it follows
/// from the journal, as it stands on the disk now.
async fn finish(
    steps: &mut dyn Steps,
    recorder: &Recorder,
    dir: &RunDir,
) -> Result<Ended, RunError> {
    // A process that was killed while it wrote had gathered already.
    if recorder.with(|run| run.collected.is_none()) {
        let collected = steps.collect(recorder, dir).await?;
        recorder.record(Event::Collected(collected))?;
    }
    let written = documents::write(dir)?;
    let stopped = recorder.with(|run| run.stopped.as_ref().map(|(cause, _)| *cause));
    if stopped.is_none() {
        let _ = std::fs::remove_dir_all(dir.private());
    }
    Ok(Ended {
        proof: written.proof,
        stopped,
        document: written.document,
    })
}
