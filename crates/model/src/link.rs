//! What the network between two hosts is set to and what it was measured to do.
//!
//! Round trips, so that two clocks need not agree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::Pair;
use crate::inventory::{Fleet, Link, NodeName};
use crate::stats::interval;

/// A pair, measured for all that are set alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkMeasured {
    #[serde(flatten)]
    pub pair: Pair,
    /// How many pairs have the same settings.
    pub like_it: usize,
    /// `None` where nobody sets it, as on a real fleet.
    pub set: Option<RoundTrip>,
    /// `None` where no answer came.
    pub measured: Option<RoundTrip>,
    /// How many of the probes were answered.
    pub probes: u64,
    pub answered: u64,
    /// What is not as it was set; `None` where all is, or nothing is set.
    pub mismatch: Option<String>,
}

/// There and back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundTrip {
    /// Median.
    pub delay_ms: f64,
    /// Half of the range that a round trip varies in.
    pub jitter_ms: f64,
    pub loss_percent: f64,
    /// From the first to the second; `None` is unlimited, or more than was tried.
    pub rate_mbit: Option<f64>,
}

impl RoundTrip {
    pub fn of(there: Link, back: Link) -> Self {
        let arrives = |link: Link| 1.0 - link.loss_percent / 100.0;
        Self {
            delay_ms: there.delay_ms + back.delay_ms,
            jitter_ms: there.jitter_ms + back.jitter_ms,
            loss_percent: 100.0 * (1.0 - arrives(there) * arrives(back)),
            rate_mbit: there.rate_mbit,
        }
    }
}

/// Pairs to measure, one for each class of equal settings.
pub fn classes(fleet: &Fleet, nodes: &[NodeName]) -> Vec<(Pair, usize, RoundTrip)> {
    let mut classes: Vec<(Pair, usize, [Link; 2])> = Vec::new();
    for (i, a) in nodes.iter().enumerate() {
        for b in &nodes[i + 1..] {
            let (Some(from), Some(to)) = (fleet.node(a), fleet.node(b)) else {
                continue;
            };
            // One side's overrides may be the other side's nothing.
            let ways = [fleet.link(from, to), fleet.link(to, from)];
            let known = classes
                .iter_mut()
                .find(|(_, _, known)| *known == ways || *known == [ways[1], ways[0]]);
            match known {
                Some((_, like_it, _)) => *like_it += 1,
                None => {
                    let pair = Pair::of_nodes(a.clone(), b.clone());
                    classes.push((pair, 1, ways));
                }
            }
        }
    }
    classes
        .into_iter()
        .map(|(pair, like_it, [there, back])| (pair, like_it, RoundTrip::of(there, back)))
        .collect()
}

/// Off by more than this, and the network is not what it is set to be.
const DELAY_MS: f64 = 4.0;
const SHARE: f64 = 0.05;
const JITTER_MS: f64 = 4.0;
const JITTER_SHARE: f64 = 0.5;
const RATE_SHARE: f64 = 0.25;
/// The set loss must lie in this interval of what was measured.
const CONFIDENCE: f64 = 0.9999;

/// From round-trip times in milliseconds.
pub fn summarise(times: &[f64], probes: u64, rate_mbit: Option<f64>) -> Option<RoundTrip> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = |share: f64| sorted[(last as f64 * share).round() as usize];
    let answered = sorted.len() as u64;
    Some(RoundTrip {
        delay_ms: at(0.5),
        // The middle 80%: a process that waits for the processor is no jitter.
        jitter_ms: (at(0.9) - at(0.1)) / 2.0 / 0.8,
        loss_percent: 100.0 * probes.saturating_sub(answered) as f64 / probes.max(1) as f64,
        rate_mbit,
    })
}

/// What was measured against what is set.
pub fn mismatch(
    set: &RoundTrip,
    measured: Option<&RoundTrip>,
    probes: u64,
    answered: u64,
) -> Option<String> {
    let Some(measured) = measured else {
        return Some(format!("none of {probes} probes was answered"));
    };
    let mut wrong = Vec::new();
    let delay_may_be_off = (SHARE * set.delay_ms).max(DELAY_MS) + set.jitter_ms / 2.0;
    if (measured.delay_ms - set.delay_ms).abs() > delay_may_be_off {
        wrong.push(format!(
            "round trip {:.1} ms, set {:.1} ± {delay_may_be_off:.1}",
            measured.delay_ms, set.delay_ms
        ));
    }
    let jitter_may_be_off = (JITTER_SHARE * set.jitter_ms).max(JITTER_MS);
    if (measured.jitter_ms - set.jitter_ms).abs() > jitter_may_be_off {
        wrong.push(format!(
            "jitter {:.1} ms, set {:.1} ± {jitter_may_be_off:.1}",
            measured.jitter_ms, set.jitter_ms
        ));
    }
    let [low, high] = interval(probes.saturating_sub(answered), probes, CONFIDENCE)?;
    if set.loss_percent < low || set.loss_percent > high {
        wrong.push(format!(
            "loss {:.1}% of {probes} ({low:.1} to {high:.1}), set {:.1}",
            measured.loss_percent, set.loss_percent
        ));
    }
    if let (Some(set), Some(rate)) = (set.rate_mbit, measured.rate_mbit)
        && (rate - set).abs() > RATE_SHARE * set
    {
        wrong.push(format!("rate {rate:.1} Mbit/s, set {set:.1}"));
    }
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: RoundTrip = RoundTrip {
        delay_ms: 100.0,
        jitter_ms: 0.0,
        loss_percent: 0.0,
        rate_mbit: None,
    };

    fn measured(times: &[f64], probes: u64) -> Option<String> {
        let seen = summarise(times, probes, None);
        mismatch(&SET, seen.as_ref(), probes, times.len() as u64)
    }

    #[test]
    fn what_is_as_it_was_set_passes() {
        assert_eq!(measured(&[100.5; 300], 300), None);
        assert_eq!(measured(&[104.9; 300], 300), None, "5% are allowed");
    }

    #[test]
    fn each_of_four_can_be_wrong() {
        let delay = measured(&[110.0; 300], 300).unwrap();
        assert!(delay.contains("round trip 110.0 ms, set 100.0"), "{delay}");
        // 2% in each direction of 300 probes.
        let loss = measured(&[100.0; 288], 300).unwrap();
        assert!(loss.contains("loss 4.0% of 300"), "{loss}");
        let spread: Vec<f64> = (0..300)
            .map(|i| 80.0 + f64::from(i) * 40.0 / 299.0)
            .collect();
        let jitter = measured(&spread, 300).unwrap();
        assert!(jitter.contains("jitter 20.0 ms, set 0.0"), "{jitter}");
        assert!(measured(&[], 300).unwrap().contains("none of 300"));
        let slow = RoundTrip {
            rate_mbit: Some(10.0),
            ..SET
        };
        let fast = RoundTrip {
            rate_mbit: Some(14.0),
            ..SET
        };
        let rate = mismatch(&slow, Some(&fast), 300, 300).unwrap();
        assert_eq!(rate, "rate 14.0 Mbit/s, set 10.0");
    }

    #[test]
    fn loss_that_is_set_is_no_mismatch() {
        let lossy = RoundTrip {
            loss_percent: 4.0,
            ..SET
        };
        let seen = summarise(&[100.0; 290], 300, None);
        assert_eq!(mismatch(&lossy, seen.as_ref(), 300, 290), None);
        let seen = summarise(&[100.0; 300], 300, None);
        let none = mismatch(&lossy, seen.as_ref(), 300, 300).unwrap();
        assert!(none.contains("loss 0.0%"), "{none}");
    }
}
