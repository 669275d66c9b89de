//! Whether an attempt's failure showed again in a run of its pair.

use std::process::ExitCode;

use model::attempt::{Attempt, Counted, Outcome};
use model::explain::Cause;
use model::protocol::Reason;
use model::run::Run;

use crate::exit;

/// What became of the pair, in the same direction and by the same tester.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Again {
    tried: usize,
    failed: usize,
    /// Of these, for the same reason.
    alike: usize,
    infrastructure: usize,
}

/// Why an attempt failed, without what differs from one to the next.
#[derive(PartialEq, Eq)]
enum Sort {
    Explained(Cause),
    Said(Reason),
    Infrastructure,
    /// It succeeded by another path than it owes.
    Path,
}

impl Again {
    pub fn of(attempt: &Attempt, run: &Run) -> Self {
        let (start, sort) = (&attempt.start, sort(attempt));
        let same = |other: &&Attempt| {
            other.start.matrix == start.matrix && other.start.cell.pair == start.cell.pair
        };
        let mut again = Self::default();
        for other in run.attempts.iter().filter(same) {
            again.tried += 1;
            match other.verdict() {
                Counted::Success => {}
                Counted::Failure => again.failed += 1,
                Counted::Infrastructure => again.infrastructure += 1,
            }
            let is_alike = other.verdict() != Counted::Success && self::sort(other) == sort;
            again.alike += usize::from(is_alike);
        }
        again
    }

    pub fn told(&self, attempt: &Attempt) -> String {
        let pair = &attempt.start.cell.pair;
        let Self {
            tried,
            failed,
            alike,
            infrastructure,
        } = self;
        let apart = match infrastructure {
            0 => String::new(),
            n => format!(", {n} infrastructure failures apart"),
        };
        match (tried, failed) {
            (0, _) => format!("nothing was learnt: {pair} was not tried"),
            _ if *alike > 0 => format!(
                "it showed again: {alike} of {tried} attempts {pair} failed for the same reason{}{apart}",
                match failed.saturating_sub(*alike) {
                    0 => String::new(),
                    n => format!(", {n} for another"),
                }
            ),
            (_, 0) => format!("it did not show again in {tried} attempts {pair}{apart}"),
            _ => format!(
                "{failed} of {tried} attempts {pair} failed, none for the same reason{apart}"
            ),
        }
    }

    /// `None` where nothing was learnt.
    pub fn code(&self) -> Option<ExitCode> {
        match self {
            Self { tried: 0, .. } => None,
            Self { alike, failed, .. } if *alike > 0 || *failed > 0 => Some(exit::fail()),
            Self {
                tried,
                infrastructure,
                ..
            } if tried == infrastructure => None,
            _ => Some(exit::PASS),
        }
    }
}

fn sort(attempt: &Attempt) -> Sort {
    let explained = attempt.explanation.as_ref().map(|e| e.cause);
    match (&attempt.outcome, explained) {
        (Outcome::Infrastructure { .. }, _) => Sort::Infrastructure,
        (_, Some(cause)) if cause != Cause::Unexplained => Sort::Explained(cause),
        (Outcome::StackFailure(failure), _) => Sort::Said(failure.reason),
        (Outcome::Success, _) => Sort::Path,
    }
}
