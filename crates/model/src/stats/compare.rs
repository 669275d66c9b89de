//! Two runs, one number each: is the new one better, and is it worse?
//!
//! Both are answered by one-sided tests of their own, so that "not proved
//! better" is never read as "worse".

use statrs::distribution::{ContinuousCDF, Normal};

/// Successes among trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    pub successes: u64,
    pub trials: u64,
}

impl Proportion {
    /// Between 0 and 1; `None` without trials.
    pub fn rate(self) -> Option<f64> {
        (self.trials > 0).then(|| self.successes as f64 / self.trials as f64)
    }

    /// Wilson's score interval, two-sided with `tail` on each side.
    fn wilson(self, tail: f64) -> [f64; 2] {
        let (n, z) = (self.trials as f64, standard_normal(1.0 - tail));
        let p = self.successes as f64 / n;
        let centre = p + z * z / (2.0 * n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z * z / n;
        [
            ((centre - half) / scale).max(0.0),
            ((centre + half) / scale).min(1.0),
        ]
    }
}

/// Newcombe's hybrid score interval (his method 10) for `new - old`, with `tail`
/// on each side; between −1 and 1. `None` where one side has no trials.
pub fn difference(new: Proportion, old: Proportion, tail: f64) -> Option<[f64; 2]> {
    let (a, b) = (new.rate()?, old.rate()?);
    let ([a_low, a_high], [b_low, b_high]) = (new.wilson(tail), old.wilson(tail));
    let d = a - b;
    Some([
        d - ((a - a_low).powi(2) + (b_high - b).powi(2)).sqrt(),
        d + ((a_high - a).powi(2) + (b - b_low).powi(2)).sqrt(),
    ])
}

/// What the difference between two runs proves, with a one-sided error of `alpha` each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// By more than the margin.
    Better,
    /// By more than the tolerance.
    Worse,
    NotProved,
}

/// `margin` and `tolerance` in percentage points; more successes are better.
pub fn rates(
    new: Proportion,
    old: Proportion,
    margin: f64,
    tolerance: f64,
    alpha: f64,
) -> Option<Change> {
    let [low, high] = difference(new, old, alpha)?;
    Some(if 100.0 * low > margin {
        Change::Better
    } else if 100.0 * high < -tolerance {
        Change::Worse
    } else {
        Change::NotProved
    })
}

/// Samples of one place in both runs: only like is compared with like.
#[derive(Debug, Clone, PartialEq)]
pub struct Stratum {
    pub new: Vec<f64>,
    pub old: Vec<f64>,
}

/// The one-sided probability of seeing `new` at least this much *below* `old`, if
/// both were alike: Mann and Whitney's test within each stratum, added up with
/// van Elteren's weights. Exact for one stratum without ties of up to 400 pairs,
/// else normal with ties corrected. `None` where no stratum has both.
pub fn p_lower(strata: &[Stratum]) -> Option<f64> {
    let strata: Vec<&Stratum> = strata
        .iter()
        .filter(|s| !s.new.is_empty() && !s.old.is_empty())
        .collect();
    if let [one] = strata.as_slice()
        && one.new.len() * one.old.len() <= 400
        && !has_ties(one)
    {
        return Some(exact(one));
    }
    let (mut sum, mut variance, mut step) = (0.0, 0.0, 0.0f64);
    for stratum in &strata {
        let (n, m) = (stratum.new.len() as f64, stratum.old.len() as f64);
        let weight = 1.0 / (n + m + 1.0);
        sum += weight * (u_below(stratum) - n * m / 2.0);
        variance += weight * weight * n * m / 12.0 * (n + m + 1.0 - tie_term(stratum));
        step = step.max(weight);
    }
    if strata.is_empty() {
        return None;
    }
    if variance <= 0.0 {
        return Some(1.0);
    }
    let z = (sum - step / 2.0) / variance.sqrt();
    Some(1.0 - normal().map_or(0.5, |n| n.cdf(z)))
}

/// In how many pairs the new sample is below the old one; ties count half.
fn u_below(s: &Stratum) -> f64 {
    let pairs = s.new.iter().flat_map(|a| s.old.iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| match a.total_cmp(b) {
            std::cmp::Ordering::Less => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 0.0,
        })
        .sum()
}

fn pooled(s: &Stratum) -> Vec<f64> {
    let mut all = [s.new.as_slice(), s.old.as_slice()].concat();
    all.sort_by(f64::total_cmp);
    all
}

fn has_ties(s: &Stratum) -> bool {
    pooled(s).windows(2).any(|pair| pair[0] == pair[1])
}

/// Σ(t³ − t) / (N (N − 1)) over groups of t equal values.
fn tie_term(s: &Stratum) -> f64 {
    let all = pooled(s);
    let n = all.len() as f64;
    let ties: f64 = all
        .chunk_by(|a, b| a == b)
        .map(|group| (group.len() as f64).powi(3) - group.len() as f64)
        .sum();
    if n > 1.0 { ties / (n * (n - 1.0)) } else { 0.0 }
}

/// P(U ≥ u) by counting orders: of all ways to lay n among m, how many have each U.
fn exact(s: &Stratum) -> f64 {
    let (n, m) = (s.new.len(), s.old.len());
    let u = u_below(s) as usize;
    let counts = arrangements(n, m);
    let all: f64 = counts.iter().sum();
    counts[u..].iter().sum::<f64>() / all
}

/// How many of the arrangements of n and m have each value of U.
fn arrangements(n: usize, m: usize) -> Vec<f64> {
    // The coefficients of the Gaussian binomial, multiplied up factor by factor.
    let most = n * m;
    let mut counts = vec![0.0; most + 1];
    counts[0] = 1.0;
    for i in 1..=n {
        for at in (m + i..=most).rev() {
            counts[at] -= counts[at - m - i];
        }
        for at in i..=most {
            counts[at] += counts[at - i];
        }
    }
    counts
}

fn normal() -> Option<Normal> {
    Normal::new(0.0, 1.0).ok()
}

fn standard_normal(probability: f64) -> f64 {
    normal().map_or(0.0, |n| n.inverse_cdf(probability))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(successes: u64, trials: u64) -> Proportion {
        Proportion { successes, trials }
    }

    /// Newcombe, Statistics in Medicine 17 (1998), table II, method 10.
    #[test]
    fn differences_are_newcombes() {
        for (new, old, low, high) in [
            (of(56, 70), of(48, 80), 0.0524, 0.3339),
            (of(9, 10), of(3, 10), 0.1705, 0.8090),
            (of(6, 7), of(2, 7), 0.0582, 0.8062),
            (of(5, 56), of(0, 29), -0.0381, 0.1926),
            (of(0, 10), of(0, 20), -0.1611, 0.2775),
            (of(0, 10), of(0, 10), -0.2775, 0.2775),
            (of(10, 10), of(0, 20), 0.6791, 1.0),
            (of(10, 10), of(0, 10), 0.6075, 1.0),
        ] {
            let [l, h] = difference(new, old, 0.025).unwrap();
            assert!(
                (l - low).abs() < 6e-5 && (h - high).abs() < 6e-5,
                "{new:?} {old:?}: [{l}, {h}]"
            );
        }
        assert_eq!(difference(of(0, 0), of(1, 2), 0.025), None);
    }

    #[test]
    fn a_clean_run_after_a_clean_run_is_no_change_and_a_proved_drop_is() {
        let rates = |new, old| rates(new, old, 0.0, 0.0, 0.05).unwrap();
        assert_eq!(rates(of(72, 72), of(72, 72)), Change::NotProved);
        assert_eq!(rates(of(71, 72), of(72, 72)), Change::NotProved);
        assert_eq!(rates(of(60, 72), of(72, 72)), Change::Worse);
        assert_eq!(rates(of(72, 72), of(60, 72)), Change::Better);
    }

    /// One-sided 5% critical values of U (Siegel & Castellan; Conover, table A7):
    /// the smaller U at this value is significant, at one more it is not.
    #[test]
    fn mann_whitney_has_the_published_critical_values() {
        for (n, m, critical) in [
            (3, 3, 0),
            (4, 4, 1),
            (5, 5, 4),
            (6, 6, 7),
            (8, 8, 15),
            (10, 10, 27),
            (5, 10, 11),
            (20, 20, 138),
        ] {
            let counts = arrangements(n, m);
            let all: f64 = counts.iter().sum();
            let at_most = |u: usize| counts[..=u].iter().sum::<f64>() / all;
            assert!(at_most(critical) <= 0.05, "{n}, {m}: {}", at_most(critical));
            assert!(at_most(critical + 1) > 0.05, "{n}, {m}");
        }
    }

    #[test]
    fn lower_is_seen_as_lower_only() {
        let low: Vec<f64> = (0..10).map(f64::from).collect();
        let high: Vec<f64> = (0..10).map(|i| f64::from(i) + 100.5).collect();
        let forth = [Stratum {
            new: low.clone(),
            old: high.clone(),
        }];
        let back = [Stratum {
            new: high,
            old: low,
        }];
        assert!(p_lower(&forth).unwrap() < 1e-4);
        assert!(p_lower(&back).unwrap() > 0.999);
        assert_eq!(p_lower(&[]), None);
    }

    /// Two places of very different latency, visited unequally often, and nothing
    /// changed: pooled they would look like a change.
    #[test]
    fn another_mix_of_places_is_no_change() {
        let near = |n: u32| {
            (0..n)
                .map(|i| 10.0 + f64::from(i * 7 % 10) / 10.0)
                .collect::<Vec<_>>()
        };
        let far = |n: u32| {
            (0..n)
                .map(|i| 300.0 + f64::from(i * 7 % 10))
                .collect::<Vec<_>>()
        };
        let strata = [
            Stratum {
                new: near(30),
                old: near(10),
            },
            Stratum {
                new: far(10),
                old: far(30),
            },
        ];
        let p = p_lower(&strata).unwrap();
        assert!((0.2..0.8).contains(&p), "{p}");
        let pooled = [Stratum {
            new: [near(30), far(10)].concat(),
            old: [near(10), far(30)].concat(),
        }];
        assert!(
            p_lower(&pooled).unwrap() < 0.001,
            "or this test shows nothing"
        );
    }

    #[test]
    fn the_normal_form_agrees_with_the_exact_one() {
        let new: Vec<f64> = (0..21).map(|i| f64::from(i * 2)).collect();
        let old: Vec<f64> = (0..20).map(|i| f64::from(i * 2 + 7)).collect();
        let exact = exact(&Stratum {
            new: new.clone(),
            old: old.clone(),
        });
        let normal = p_lower(&[Stratum { new, old }]).unwrap();
        assert!((exact - normal).abs() < 0.003, "{exact} {normal}");
    }
}
