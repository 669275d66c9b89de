//! Quantiles with an interval that assumes nothing of the distribution.
//!
//! How many of n samples lie below the true q-quantile is binomial, whatever
//! they are samples of; so order statistics bound it (David & Nagaraja, Order
//! Statistics, 7.1).

use statrs::distribution::{Binomial, DiscreteCDF};

/// One-sided bounds for a quantile at `1 - alpha` each. A side is `None` where
/// there are too few samples to bound it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileBounds {
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// `q` between 0 and 1.
pub fn bounds(samples: &[f64], q: f64, alpha: f64) -> QuantileBounds {
    let sorted = sorted(samples);
    let (low, high) = ranks(sorted.len() as u64, q, alpha);
    let at = |rank: u64| {
        sorted
            .get(usize::try_from(rank).ok()?.checked_sub(1)?)
            .copied()
    };
    QuantileBounds {
        low: low.and_then(at),
        high: high.and_then(at),
    }
}

/// The sample quantile: the smallest sample that a share `q` of them does not exceed.
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    let sorted = sorted(samples);
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// Which order statistics (from 1) bound the q-quantile from below and above.
fn ranks(n: u64, q: f64, alpha: f64) -> (Option<u64>, Option<u64>) {
    let Ok(below) = Binomial::new(q, n) else {
        return (None, None);
    };
    // The largest k with P(B ≤ k − 1) ≤ α, and the smallest with P(B ≤ k − 1) ≥ 1 − α.
    let low = (1..=n).take_while(|k| below.cdf(k - 1) <= alpha).last();
    let high = (1..=n).find(|k| below.cdf(k - 1) >= 1.0 - alpha);
    (low, high)
}

/// The fewest samples that can bound the quantile on both sides at all.
pub fn fewest(q: f64, alpha: f64) -> u64 {
    let side = |share: f64| (alpha.ln() / share.ln()).ceil().max(1.0) as u64;
    side(q).max(side(1.0 - q))
}

/// The fewest samples that can bound it from above (or, with `1 - q`, from below).
pub fn fewest_above(q: f64, alpha: f64) -> u64 {
    (alpha.ln() / q.ln()).ceil().max(1.0) as u64
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conover, Practical Nonparametric Statistics; the first two are the
    /// familiar 59 (Wilks) and the rank table for the median's 95% interval.
    #[test]
    fn ranks_are_the_published_ones() {
        assert_eq!(fewest_above(0.95, 0.05), 59);
        assert_eq!(fewest_above(0.90, 0.05), 29);
        assert_eq!(fewest_above(0.99, 0.05), 299);
        for (n, low, high) in [
            (10, 2, 9),
            (20, 6, 15),
            (30, 10, 21),
            (50, 18, 33),
            (100, 40, 61),
        ] {
            assert_eq!(ranks(n, 0.5, 0.025), (Some(low), Some(high)), "n = {n}");
        }
        assert_eq!(ranks(58, 0.95, 0.05).1, None);
        assert_eq!(ranks(59, 0.95, 0.05).1, Some(59));
        assert_eq!(
            ranks(5, 0.5, 0.025),
            (None, None),
            "five cannot bound a median"
        );
    }

    #[test]
    fn bounds_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&samples, 0.95), Some(95.0));
        assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
        let found = bounds(&samples, 0.5, 0.025);
        assert_eq!((found.low, found.high), (Some(40.0), Some(61.0)));
    }
}
