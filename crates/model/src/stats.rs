//! Intervals, and a sequential test that decides as soon as the data do.

pub mod compare;
#[cfg(test)]
mod coverage;
pub mod pooling;
pub mod quantile;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, Binomial, ContinuousCDF, DiscreteCDF};

use crate::suite::SuiteName;

/// Three values: not being able to tell is not a pass.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Pass,
    #[default]
    Inconclusive,
    Fail,
}

impl Verdict {
    /// Both together: FAIL dominates, then INCONCLUSIVE.
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }

    /// Either of them: PASS dominates, then INCONCLUSIVE.
    pub fn or(self, other: Self) -> Self {
        self.min(other)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pass => "PASS",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Fail => "FAIL",
        })
    }
}

/// Error rate of the sequential test, each way.
pub const ERROR_RATE: f64 = 0.05;

/// Share of infrastructure failures above which nothing is concluded.
pub const INFRASTRUCTURE_CAP: f64 = 0.05;

/// A success rate that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Criterion {
    /// The suite whose attempts or measure it is about.
    #[serde(default)]
    pub suite: SuiteName,
    /// A category of attempts, or a rate that the suite measures.
    pub name: String,
    /// Percent.
    pub target: f64,
    /// A true rate of `target - margin` or less is to be refused; in percentage points.
    pub margin: f64,
}

/// Where a sequential test stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Accepted,
    Refused,
    /// This many more successes in a row would settle it.
    Open {
        clean_needed: u64,
    },
}

impl Criterion {
    /// Wald's test of `target` against `target - margin`, on totals.
    pub fn standing(&self, successes: u64, failures: u64) -> Standing {
        let (good, bad) = (
            self.target / 100.0,
            ((self.target - self.margin) / 100.0).max(0.0),
        );
        // Wald's own bound, ln (1 − β)/α, lets errors come out a little above α
        // (at target 100 and 58 attempts, 5.1%). This one never does (Ville).
        let bound = (1.0 / ERROR_RATE).ln();
        let per_success = (good / bad).ln();
        let failure_ratio = if failures == 0 {
            0.0
        } else {
            failures as f64 * ((1.0 - good) / (1.0 - bad)).ln()
        };
        let ratio = successes as f64 * per_success + failure_ratio;
        if ratio <= -bound {
            Standing::Refused
        } else if successes > 0 && ratio >= bound {
            Standing::Accepted
        } else {
            let needed = ((bound - ratio) / per_success).ceil().max(1.0);
            Standing::Open {
                clean_needed: if needed.is_finite() { needed as u64 } else { 1 },
            }
        }
    }

    /// The first standing that settles it, looking at outcomes one by one in order.
    pub fn run(&self, outcomes: impl IntoIterator<Item = bool>) -> Standing {
        let (mut successes, mut failures) = (0, 0);
        for success in outcomes {
            if success {
                successes += 1;
            } else {
                failures += 1;
            }
            let standing = self.standing(successes, failures);
            if !matches!(standing, Standing::Open { .. }) {
                return standing;
            }
        }
        self.standing(successes, failures)
    }
}

/// Clopper–Pearson, two-sided, in percent; `None` without attempts.
pub fn interval(successes: u64, attempts: u64, confidence: f64) -> Option<[f64; 2]> {
    if attempts == 0 || successes > attempts {
        return None;
    }
    let (s, f) = (successes as f64, (attempts - successes) as f64);
    let tail = (1.0 - confidence) / 2.0;
    let low = if successes == 0 {
        0.0
    } else {
        Beta::new(s, f + 1.0).ok()?.inverse_cdf(tail)
    };
    let high = if successes == attempts {
        1.0
    } else {
        Beta::new(s + 1.0, f).ok()?.inverse_cdf(1.0 - tail)
    };
    Some([100.0 * low, 100.0 * high])
}

/// P(X ≤ `count`) of `n` trials with probability `p` each.
pub fn at_most_so_many(count: u64, n: u64, p: f64) -> f64 {
    Binomial::new(p.clamp(0.0, 1.0), n).map_or(1.0, |b| b.cdf(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn criterion(target: f64, margin: f64) -> Criterion {
        Criterion {
            suite: SuiteName::default(),
            name: "c".into(),
            target,
            margin,
        }
    }

    #[test]
    fn clean_attempts_that_decide() {
        for (target, margin, clean) in [(99.0, 4.0, 73), (85.0, 10.0, 24), (100.0, 5.0, 59)] {
            let c = criterion(target, margin);
            assert_eq!(c.standing(clean, 0), Standing::Accepted, "{target}");
            assert_eq!(
                c.standing(clean - 1, 0),
                Standing::Open { clean_needed: 1 },
                "{target}"
            );
            assert_eq!(
                c.standing(0, 0),
                Standing::Open {
                    clean_needed: clean
                },
                "{target}"
            );
        }
    }

    #[test]
    fn at_target_100_the_first_failure_fails() {
        assert_eq!(criterion(100.0, 5.0).standing(58, 1), Standing::Refused);
    }

    #[test]
    fn what_was_settled_stays_settled() {
        let outcomes = std::iter::repeat_n(true, 59).chain(std::iter::repeat_n(false, 50));
        assert_eq!(criterion(100.0, 5.0).run(outcomes), Standing::Accepted);
    }

    /// Published values: NIST/Brown, Cai & DasGupta tables and R's `binom.test`.
    #[test]
    fn intervals_are_the_published_ones() {
        for (s, n, low, high) in [
            (72, 72, 95.01, 100.0),
            (0, 10, 0.0, 30.85),
            (5, 10, 18.71, 81.29),
            (9, 10, 55.50, 99.75),
            (1, 100, 0.0253, 5.446),
        ] {
            let [l, h] = interval(s, n, 0.95).unwrap();
            assert!(
                (l - low).abs() < 0.01 && (h - high).abs() < 0.01,
                "{s} of {n}: [{l}, {h}]"
            );
        }
        assert_eq!(interval(0, 0, 0.95), None);
    }

    #[test]
    fn fail_dominates_then_inconclusive() {
        use Verdict::{Fail, Inconclusive, Pass};
        assert_eq!(Pass.and(Inconclusive), Inconclusive);
        assert_eq!(Inconclusive.and(Fail), Fail);
        assert_eq!(Pass.and(Pass), Pass);
    }
}
