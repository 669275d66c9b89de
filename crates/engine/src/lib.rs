//! The run: a plan goes in, a journal and a proof come out.
//!
//! [`plan::plan`] fixes what is to be judged; [`run`] does it. The engine sees an
//! inventory, an SSH configuration and perhaps an [`Observer`]; whether the hosts
//! are a twin's or rented ones it cannot tell.

mod agent;
mod attempt;
mod capture;
mod claim;
mod dashboard;
mod deployment;
mod documents;
mod driver;
mod earlier;
mod evidence;
mod fix;
mod git;
mod health;
#[cfg(test)]
mod interruption;
mod journal;
mod junit;
mod lease;
mod live;
mod manifest;
mod markdown;
pub mod nat;
mod notify;
mod observer;
mod plan;
mod publish;
mod recorder;
pub mod redact;
mod registry;
mod review;
mod run_dir;
mod scratch;
mod settings;
mod signature;
mod stack;
mod steps;
mod suite;
mod tester;
mod verify;

pub use capture::{Capture, Keep};
pub use claim::{Claim, ClaimError, Holder};
pub use dashboard::{Dashboard, DashboardError};
pub use documents::Written;
pub use driver::{Ended, How, RunError, check_resumable, resume, run};
pub use earlier::{Ask, EarlierError, baseline};
pub use journal::{Journal, JournalError, read as read_journal};
pub use notify::Notifier;
pub use observer::{Asked, HostCounters, Observer, ObserverError, Observers};
pub use plan::{PlanError, Wish, plan};
pub use recorder::{Progress, RecordError, Recorder, Sink};
pub use review::{ReviewError, review};
pub use run_dir::{ReplayError, RunDir, RunDirError};
pub use settings::Settings;
pub use signature::{SignError, choose_key, sign};
pub use stack::{StackError, StackPatch};
pub use verify::{Check, Status, Verification, VerifyError, verify};

/// An error with its causes, in a line.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = std::iter::successors(Some(error), |e| e.source())
        .map(ToString::to_string)
        .collect();
    words.dedup();
    words.join(": ")
}
