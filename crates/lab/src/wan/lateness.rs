//! How late the WAN is with its own packets: its honesty about itself.

use serde::{Deserialize, Serialize};

/// Due time against actual time, over all delayed packets.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Lateness {
    pub packets: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Counts in steps of 10 µs up to 100 ms; beyond that only the maximum is kept.
#[derive(Debug)]
pub struct Histogram {
    steps: Vec<u64>,
    packets: u64,
    max_us: u64,
}

const STEP_US: u64 = 10;
const STEPS: usize = 10_000;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            steps: vec![0; STEPS],
            packets: 0,
            max_us: 0,
        }
    }
}

impl Histogram {
    pub fn add(&mut self, late: std::time::Duration) {
        let us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let step = usize::try_from(us / STEP_US)
            .unwrap_or(STEPS)
            .min(STEPS - 1);
        self.steps[step] += 1;
        self.packets += 1;
        self.max_us = self.max_us.max(us);
    }

    pub fn report(&self) -> Lateness {
        Lateness {
            packets: self.packets,
            p50_ms: self.quantile_ms(0.50),
            p99_ms: self.quantile_ms(0.99),
            max_ms: self.max_us as f64 / 1e3,
        }
    }

    /// Upper edge of the step that holds the quantile.
    fn quantile_ms(&self, q: f64) -> f64 {
        let wanted = (q * self.packets as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.steps.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return (index as u64 + 1) as f64 * STEP_US as f64 / 1e3;
            }
        }
        0.0
    }
}
