//! The run: a plan goes in, a journal and a proof come out.
//!
//! [`plan::plan`] fixes what is to be judged; [`run`] does it. The engine sees an
//! inventory, an SSH configuration and perhaps an [`Observer`]; whether the hosts
//! are a twin's or rented ones it cannot tell.

mod agent;
mod attempt;
mod claim;
mod deployment;
mod driver;
mod fix;
mod git;
mod health;
#[cfg(test)]
mod interruption;
mod journal;
mod lease;
mod live;
mod markdown;
mod notify;
mod observer;
mod plan;
mod recorder;
mod run_dir;
mod scratch;
mod settings;
mod stack;
mod steps;
mod suite;
mod tester;

pub use claim::{Claim, ClaimError, Holder};
pub use driver::{Ended, How, RunError, check_resumable, resume, run};
pub use journal::{Journal, JournalError, read as read_journal};
pub use notify::Notifier;
pub use observer::{Observer, ObserverError};
pub use plan::{NotBuilt, Wish, plan};
pub use recorder::{Progress, RecordError, Recorder, Sink};
pub use run_dir::{ReplayError, RunDir, RunDirError};
pub use settings::Settings;
pub use stack::{StackError, StackPatch};

/// An error with its causes, in a line.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = std::iter::successors(Some(error), |e| e.source())
        .map(ToString::to_string)
        .collect();
    words.dedup();
    words.join(": ")
}
