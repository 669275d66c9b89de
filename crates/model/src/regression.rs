//! Whether a success rate has dropped from one pass to the next: proved at 95%,
//! one-sided, to have fallen by more than the tolerance.

use crate::measure::{Trial, Yield};
use crate::stats::Criterion;
use crate::stats::compare::{Change, Proportion, rates};

const ALPHA: f64 = 0.05;

/// The criteria that dropped by more than so many percentage points, in words; `None`
/// if none did.
pub fn between(
    criteria: &[Criterion],
    tolerance: f64,
    before: &Yield<'_>,
    after: &Yield<'_>,
) -> Option<String> {
    let dropped: Vec<String> = criteria
        .iter()
        .filter_map(|criterion| {
            let (then, now) = (of(criterion, before), of(criterion, after));
            // What rises is of no interest here: any margin will do.
            let change = rates(now, then, 100.0, tolerance, ALPHA)?;
            (change == Change::Worse).then(|| {
                format!(
                    "{} fell from {} of {} to {} of {}",
                    criterion.name, then.successes, then.trials, now.successes, now.trials
                )
            })
        })
        .collect();
    (!dropped.is_empty()).then(|| format!("a regression: {}", dropped.join(", ")))
}

fn of(criterion: &Criterion, yielded: &Yield<'_>) -> Proportion {
    let trials = yielded.trials(&criterion.suite, &criterion.name);
    let count = |what| trials.iter().filter(|(_, trial)| *trial == what).count() as u64;
    let successes = count(Trial::Success);
    Proportion {
        successes,
        trials: successes + count(Trial::Failure),
    }
}
