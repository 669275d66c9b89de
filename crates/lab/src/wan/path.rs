//! One ordered pair: when a packet that leaves now arrives, if it does.

use std::time::{Duration, Instant};

use model::draws::Draws;
use model::inventory::Link;

/// A packet that would wait longer than this at the rate limit is dropped, as a
/// router with a bounded buffer does.
const LONGEST_QUEUE: Duration = Duration::from_millis(200);

/// What happens to a wire packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Arrives at this time; `None` is at once.
    Arrives(Option<Instant>),
    Lost,
    /// The rate limit's buffer is full.
    Overflowed,
}

/// The state of one ordered pair. Draws come from its own seeded sequence, so
/// that the n-th packet of a pair always meets the same fate.
#[derive(Debug)]
pub struct Path {
    link: Link,
    draws: Draws,
    /// When the rate limit lets the next packet go.
    free_at: Option<Instant>,
    /// Packets keep their order under jitter.
    last_arrival: Option<Instant>,
    cut: bool,
}

impl Path {
    pub fn new(link: Link, seed: u64) -> Self {
        Self {
            link,
            draws: Draws::new(seed | 1),
            free_at: None,
            last_arrival: None,
            cut: false,
        }
    }

    pub fn set(&mut self, link: Link) {
        self.link = link;
        self.free_at = None;
    }

    pub fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    /// Whether each wire packet has a fate of its own.
    pub fn is_impaired(&self) -> bool {
        self.link.jitter_ms > 0.0 || self.link.loss_percent > 0.0 || self.link.rate_mbit.is_some()
    }

    pub fn fate(&mut self, now: Instant, wire_bytes: u64) -> Fate {
        if self.cut
            || (self.link.loss_percent > 0.0 && self.draws.unit() * 100.0 < self.link.loss_percent)
        {
            return Fate::Lost;
        }
        let Some(left) = self.leave(now, wire_bytes) else {
            return Fate::Overflowed;
        };
        let delay = self.delay_ms();
        if delay <= 0.0 && left <= now {
            return Fate::Arrives(None);
        }
        let arrival = left + Duration::from_secs_f64(delay.max(0.0) / 1e3);
        let arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
        self.last_arrival = Some(arrival);
        Fate::Arrives(Some(arrival))
    }

    fn delay_ms(&mut self) -> f64 {
        if self.link.jitter_ms == 0.0 {
            return self.link.delay_ms;
        }
        self.link.delay_ms + self.link.jitter_ms * (2.0 * self.draws.unit() - 1.0)
    }

    /// When the last bit has left, at the rate limit.
    fn leave(&mut self, now: Instant, wire_bytes: u64) -> Option<Instant> {
        let Some(rate) = self.link.rate_mbit else {
            return Some(now);
        };
        let start = self.free_at.map_or(now, |free| free.max(now));
        if start.duration_since(now) > LONGEST_QUEUE {
            return None;
        }
        let end = start + Duration::from_secs_f64(wire_bytes as f64 * 8.0 / (rate * 1e6));
        self.free_at = Some(end);
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(seed: u64, link: Link) -> Vec<bool> {
        let mut path = Path::new(link, seed);
        let now = Instant::now();
        (0..1000)
            .map(|_| path.fate(now, 100) == Fate::Lost)
            .collect()
    }

    #[test]
    fn the_same_seed_loses_the_same_packets() {
        let link = Link {
            loss_percent: 10.0,
            ..Link::default()
        };
        assert_eq!(lost(7, link), lost(7, link));
        assert_ne!(lost(7, link), lost(8, link));
        let count = lost(7, link).iter().filter(|l| **l).count();
        assert!((70..130).contains(&count), "{count} of 1000 at 10%");
    }

    #[test]
    fn nothing_is_lost_unasked() {
        assert!(
            !lost(
                7,
                Link {
                    delay_ms: 5.0,
                    jitter_ms: 2.0,
                    ..Link::default()
                }
            )
            .contains(&true)
        );
    }

    #[test]
    fn jitter_keeps_the_order() {
        let mut path = Path::new(
            Link {
                delay_ms: 5.0,
                jitter_ms: 4.0,
                ..Link::default()
            },
            3,
        );
        let now = Instant::now();
        let arrivals: Vec<_> = (0..200)
            .map(|i| path.fate(now + Duration::from_micros(i), 100))
            .collect();
        let times: Vec<_> = arrivals
            .iter()
            .map(|f| {
                if let Fate::Arrives(Some(at)) = f {
                    *at
                } else {
                    panic!()
                }
            })
            .collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn a_rate_spaces_packets_and_overflows_at_last() {
        let mut path = Path::new(
            Link {
                rate_mbit: Some(8.0),
                ..Link::default()
            },
            3,
        );
        let now = Instant::now();
        assert_eq!(
            path.fate(now, 1000),
            Fate::Arrives(Some(now + Duration::from_millis(1)))
        );
        assert_eq!(
            path.fate(now, 1000),
            Fate::Arrives(Some(now + Duration::from_millis(2)))
        );
        assert!((0..1000).any(|_| path.fate(now, 1000) == Fate::Overflowed));
    }
}
