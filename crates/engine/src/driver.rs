//! The loop: ask the run what to do, do it, journal it.

use jiff::Timestamp;
use model::event::{Event, Plan, StopCause};
use model::proof::Proof;
use model::run::{Action, Run, State};
use tokio::sync::watch;

use crate::documents::{self, DocumentError};
use crate::evidence;
use crate::journal::{Journal, JournalError};
use crate::live::Live;
use crate::recorder::{RecordError, Recorder, Sink};
use crate::review;
use crate::run_dir::{RunDir, RunDirError};
use crate::settings::Settings;
use crate::steps::{self, Stage, StepError};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Directory(#[from] RunDirError),
    #[error(transparent)]
    Document(#[from] DocumentError),
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
    recorder.record(Event::Environment(evidence::environment(dir)))?;
    let mut live = Live::default();
    let asked = tokio::select! {
        done = drive(settings, &recorder, &mut live) => { done?; false }
        _ = stop.wait_for(|stop| *stop) => true,
    };
    if asked {
        interrupt(&recorder)?;
    }
    let ended = finish(settings, &recorder, &plan, dir, &live).await;
    if let Some(publisher) = live.publisher.take() {
        publisher.finish().await;
    }
    ended
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
                detail: recorder.with(|run| review::why_stopped(run, cause)),
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

/// The run is over; what is left is to gather and to write. All of it follows
/// from the journal, as it stands on the disk now.
async fn finish(
    settings: &Settings,
    recorder: &Recorder,
    plan: &Plan,
    dir: &RunDir,
    live: &Live,
) -> Result<Ended, RunError> {
    let collected = evidence::collect(settings, recorder, plan, dir, live).await?;
    recorder.record(Event::Collected(collected))?;
    let written = documents::write(dir)?;
    Ok(Ended {
        proof: written.proof,
        stopped: recorder.with(|run| run.stopped.as_ref().map(|(cause, _)| *cause)),
        document: written.document,
    })
}
