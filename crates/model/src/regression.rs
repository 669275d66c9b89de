//! Whether a success rate has dropped: proved at 95%, one-sided, to be more than a
//! tolerance. Newcombe's hybrid of two Wilson intervals (1998, method 10).

use crate::attempt::{Attempt, Counted};
use crate::event::Plan;
use crate::stats::Criterion;

/// Of the normal distribution, for one side.
const Z: f64 = 1.644_853_626_951_472;

/// Successes of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub successes: u64,
    pub attempts: u64,
}

impl Rate {
    fn value(self) -> f64 {
        self.successes as f64 / self.attempts as f64
    }

    /// Wilson's bounds, each of which the true rate passes in at most 5% of cases.
    fn bounds(self) -> (f64, f64) {
        let (n, p) = (self.attempts as f64, self.value());
        let middle = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        ((middle - half) / scale, (middle + half) / scale)
    }
}

/// The least drop, in percentage points, that the data prove; negative where they
/// prove none. `None` without attempts on both sides.
pub fn proved_drop(before: Rate, after: Rate) -> Option<f64> {
    if before.attempts == 0 || after.attempts == 0 {
        return None;
    }
    let (then, now) = (before.value(), after.value());
    let (low, _) = before.bounds();
    let (_, high) = after.bounds();
    let bound = (then - now) - ((then - low).powi(2) + (high - now).powi(2)).sqrt();
    Some(100.0 * bound)
}

/// `tolerance` is in percentage points.
pub fn is_regression(before: Rate, after: Rate, tolerance: f64) -> bool {
    proved_drop(before, after).is_some_and(|drop| drop > tolerance)
}

/// The criteria that dropped from one pass to the next, in words; `None` if none did.
pub fn between(plan: &Plan, before: &[&Attempt], after: &[&Attempt]) -> Option<String> {
    let tolerance = plan.regression_tolerance;
    let dropped: Vec<String> = plan
        .criteria
        .iter()
        .filter_map(|criterion| {
            let (then, now) = (rate(criterion, before), rate(criterion, after));
            is_regression(then, now, tolerance).then(|| {
                format!(
                    "{} fell from {} of {} to {} of {}",
                    criterion.name, then.successes, then.attempts, now.successes, now.attempts
                )
            })
        })
        .collect();
    (!dropped.is_empty()).then(|| format!("a regression: {}", dropped.join(", ")))
}

fn rate(criterion: &Criterion, attempts: &[&Attempt]) -> Rate {
    let mut rate = Rate {
        successes: 0,
        attempts: 0,
    };
    for attempt in attempts {
        if attempt.start.cell.category.to_string() != criterion.name {
            continue;
        }
        let counted = attempt.verdict();
        rate.attempts += u64::from(counted != Counted::Infrastructure);
        rate.successes += u64::from(counted == Counted::Success);
    }
    rate
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(successes: u64, attempts: u64) -> Rate {
        Rate {
            successes,
            attempts,
        }
    }

    #[test]
    fn the_same_again_is_none_even_at_tolerance_0() {
        assert!(!is_regression(of(72, 72), of(72, 72), 0.0));
        assert!(!is_regression(of(72, 72), of(71, 72), 0.0), "chance");
        assert!(!is_regression(of(72, 72), of(0, 0), 0.0), "no data");
    }

    #[test]
    fn a_drop_counts_once_it_is_proved_and_past_the_tolerance() {
        assert!(is_regression(of(72, 72), of(60, 72), 0.0));
        assert!(is_regression(of(72, 72), of(60, 72), 5.0));
        assert!(!is_regression(of(72, 72), of(60, 72), 12.0));
        assert!(!is_regression(of(60, 72), of(72, 72), 0.0), "it rose");
    }

    /// Newcombe (1998), table II, contrast (a): 56/70 against 48/80, two-sided 95%
    /// by method 10 is 0.0524 to 0.3339; with this z its lower bound is nearer.
    #[test]
    fn the_bound_is_newcombes() {
        let drop = proved_drop(of(56, 70), of(48, 80)).unwrap();
        assert!((drop - 7.7).abs() < 0.2, "{drop}");
    }

    #[test]
    fn false_alarms_stay_under_their_of() {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut draw = move |p: f64, n: u64| {
            let hit = |_: &u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ((state >> 11) as f64 / (1u64 << 53) as f64) < p
            };
            of((0..n).filter(hit).count() as u64, n)
        };
        for p in [0.75, 0.9, 0.99] {
            let alarms = (0..4000)
                .filter(|_| is_regression(draw(p, 72), draw(p, 72), 0.0))
                .count();
            assert!(alarms <= 260, "{p}: {alarms} of 4000");
        }
    }
}
