//! Whether an attempt's failure showed again in a run of its pair.

use std::process::ExitCode;

use model::attempt::{Attempt, Counted, Outcome};
use model::explain::Cause;
use model::measure::{Measured, Trial, Values};
use model::protocol::Reason;
use model::run::Run;

use super::failure::Failure;
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
    pub fn of(failure: &Failure<'_>, run: &Run) -> Self {
        match failure {
            Failure::Attempt(attempt) => Self::of_attempt(attempt, run),
            Failure::Measured(measured) => Self::of_measure(measured, run),
        }
    }

    /// Of the same measure at the same node.
    fn of_measure(measured: &Measured, run: &Run) -> Self {
        let same = |other: &&Measured| {
            (&other.suite, &other.measure) == (&measured.suite, &measured.measure)
                && (&other.from, &other.to) == (&measured.from, &measured.to)
        };
        let sort = measured.detail.as_deref().map(in_general);
        let mut again = Self::default();
        for other in run.measured.iter().filter(same) {
            let is_alike = other.detail.as_deref().map(in_general) == sort;
            let Values::Outcomes(trials) = &other.values else {
                continue;
            };
            for trial in trials {
                again.tried += 1;
                match trial {
                    Trial::Success => {}
                    Trial::Failure => {
                        again.failed += 1;
                        again.alike += usize::from(is_alike);
                    }
                    Trial::Infrastructure => again.infrastructure += 1,
                }
            }
        }
        again
    }

    fn of_attempt(attempt: &Attempt, run: &Run) -> Self {
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

    pub fn told(&self, failure: &Failure<'_>) -> String {
        let of = match failure {
            Failure::Attempt(attempt) => format!("attempts {}", attempt.start.cell.pair),
            Failure::Measured(_) => format!("trials of {}", failure.name()),
        };
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
        let others = match failed.saturating_sub(*alike) {
            0 => String::new(),
            n => format!(", {n} for another"),
        };
        match (tried, failed) {
            (0, _) => format!("nothing was learnt: there were no {of}"),
            _ if *alike > 0 => format!(
                "it showed again: {alike} of {tried} {of} failed for the same reason{others}{apart}"
            ),
            (_, 0) => format!("it did not show again in {tried} {of}{apart}"),
            _ => format!("{failed} of {tried} {of} failed, none for the same reason{apart}"),
        }
    }

    /// For the same reason, and so for none that fewer nodes have brought along.
    pub fn has_shown(&self) -> bool {
        self.alike > 0
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

/// A reason without what differs from one time to the next: `3 of 5 took it: 5e84437762 is
/// gone` is `# of # took it: # is gone`.
fn in_general(detail: &str) -> String {
    let differs = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    let words = detail.split_whitespace();
    let words = words.map(|word| if differs(word) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_whoever_it_was_and_however_many() {
        let one = in_general("2 of 5 took it: 5e844377 cannot be reached");
        assert_eq!(
            one,
            in_general("0 of 5 took it: 74b6bce6 cannot be reached")
        );
        assert_ne!(one, in_general("0 of 5 took it: nobody else is known"));
    }
}
