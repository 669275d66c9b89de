//! A person's word on a run that is parked for it. Nothing has to stay up while
//! they take their time: the journal is opened, goes on by an entry, and closes.

use jiff::Timestamp;
use model::event::{Decision, Event, Review, StopCause};
use model::run::{Action, Run};

use crate::documents::{self, DocumentError, Written};
use crate::journal::{Journal, JournalError};
use crate::recorder::{RecordError, Recorder};
use crate::run_dir::RunDir;

#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("`{run}` does not wait for anybody: it {is}")]
    NotParked { run: String, is: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the journal does not follow the run's own rules; `vps-test verify` says where")]
    Illegal(#[from] model::run::IllegalEvent),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Records what they said, ends the run accordingly, and writes its proof anew.
///
/// # Errors
/// The run waits for nobody, or its files cannot be written.
pub fn review(dir: &RunDir, review: Review) -> Result<Written, ReviewError> {
    let (journal, entries) = Journal::open(&dir.journal())?;
    let mut run = Run::default();
    for entry in &entries {
        run.apply(entry.at, &entry.event)?;
    }
    if !run.awaits_review() {
        return Err(ReviewError::NotParked {
            run: dir.display(),
            is: match &run.stopped {
                Some((_, detail)) => format!("is stopped: {detail}"),
                None => format!("is in {}", run.state),
            },
        });
    }
    let recorder = Recorder::new(journal, run, Vec::new());
    recorder.record(Event::Reviewed(review))?;
    let end = match recorder.with(|run| run.next(Timestamp::now())) {
        Action::Stop(cause) => Event::Stopped {
            cause,
            detail: recorder.with(|run| why_stopped(run, cause)),
        },
        _ => Event::Completed,
    };
    recorder.record(end)?;
    Ok(documents::write(dir)?)
}

/// Why a run that decides to stop does so, for the one who reads it.
pub fn why_stopped(run: &Run, cause: StopCause) -> String {
    match (cause, &run.review, &run.plan) {
        (StopCause::Unconfirmed, _, Some(plan)) => format!(
            "all tests passed; it counts when a person has looked: vps-test confirm {} [--reject --reason …]",
            plan.project
        ),
        (StopCause::Rejected, Some((_, review)), _) => {
            debug_assert_eq!(review.decision, Decision::Rejected);
            let reason = review.reason.as_deref().unwrap_or("no reason given");
            format!("rejected by {}: {reason}", review.by)
        }
        _ => "the data did not decide".into(),
    }
}
