//! What each state is for. Every effect is idempotent: a step that was started
//! and not finished is simply run again.

pub mod build;
mod cargo;
mod compiler;
pub mod deploy;
mod links;
pub mod setup;
mod source;
pub mod test;
mod toolchain;

use crate::live::Live;
use crate::recorder::{RecordError, Recorder};
use crate::settings::Settings;

/// What a step works with.
pub struct Stage<'a> {
    pub settings: &'a Settings,
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
