//! What each state is for. Every effect is idempotent: a step that was started
//! and not finished is simply run again.

pub mod build;
mod cargo;
mod companion;
mod compiler;
pub mod deploy;
mod links;
mod notice;
mod part;
mod real;
pub mod setup;
mod source;
pub mod test;
mod toolchain;

use jiff::Timestamp;
use model::event::Collected;
use model::run::State;

pub use real::RealSteps;

use crate::live::Live;
use crate::recorder::{RecordError, Recorder};
use crate::run_dir::{RunDir, RunDirError};
use crate::settings::Settings;

/// What the driver has done: the real steps, or a test's.
#[async_trait::async_trait(?Send)]
pub trait Steps {
    /// What this state is for.
    async fn perform(&mut self, state: State, recorder: &Recorder) -> Result<(), StepError>;

    /// Lets time pass until then, or for a while; called again as long as it is not then.
    async fn wait(&mut self, until: Timestamp, recorder: &Recorder) -> Result<(), StepError>;

    /// What is kept of a run besides its journal.
    async fn collect(
        &mut self,
        recorder: &Recorder,
        dir: &RunDir,
    ) -> Result<Collected, RunDirError>;

    /// The last entry is written: whoever follows the run hears of it, and what was
    /// held is given back.
    async fn leave(&mut self);
}

/// What a step works with.
pub struct Stage<'a> {
    pub settings: &'a Settings,
    pub dir: &'a RunDir,
    pub recorder: &'a Recorder,
    pub live: &'a mut Live,
}

/// Why a step could not do its work; none of it is the stack's doing.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{0}")]
    Infrastructure(String),
}

impl StepError {
    pub fn infrastructure(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Infrastructure(crate::error_chain(error))
    }
}
