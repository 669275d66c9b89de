//! How often somebody may ask: a token bucket for each key, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Requests a second, and how many may come at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub per_second: f64,
    pub burst: f64,
}

impl Rate {
    /// Four seconds' worth may come at once.
    pub fn per_second(per_second: f64) -> Self {
        Self {
            per_second,
            burst: (4.0 * per_second).max(1.0),
        }
    }
}

/// Past this, buckets that are full again are forgotten.
const KEYS_MAX: usize = 8192;

pub struct Limiter<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash> Limiter<K> {
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Takes one.
    ///
    /// # Errors
    /// None is left; seconds until there is one.
    pub fn take(&self, key: K, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEYS_MAX && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| bucket.filled(self.rate, now) < self.rate.burst);
            if buckets.len() >= KEYS_MAX {
                return Err(1);
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            tokens: self.rate.burst,
            at: now,
        });
        bucket.tokens = bucket.filled(self.rate, now);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - bucket.tokens) / self.rate.per_second)
            .ceil()
            .max(1.0) as u64)
    }

    /// Whether one is left, without taking it.
    pub fn has(&self, key: &K, now: Instant) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .get(key)
            .is_none_or(|bucket| bucket.filled(self.rate, now) >= 1.0)
    }
}

impl Bucket {
    fn filled(&self, rate: Rate, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + since * rate.per_second).min(rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_the_rate_each_key_for_itself() {
        let limiter = Limiter::new(Rate {
            per_second: 2.0,
            burst: 3.0,
        });
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.take("a", start), Ok(()));
        }
        assert_eq!(limiter.take("a", start), Err(1));
        assert!(!limiter.has(&"a", start));
        assert_eq!(limiter.take("b", start), Ok(()));
        let later = start + Duration::from_millis(600);
        assert_eq!(limiter.take("a", later), Ok(()));
        assert_eq!(limiter.take("a", later), Err(1));
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::new(Rate {
            per_second: 1.0,
            burst: 1.0,
        });
        let start = Instant::now();
        for key in 0..KEYS_MAX {
            limiter.take(key, start).unwrap();
        }
        assert_eq!(limiter.take(KEYS_MAX, start), Err(1));
        let later = start + Duration::from_secs(2);
        assert_eq!(limiter.take(KEYS_MAX, later), Ok(()));
        assert_eq!(limiter.buckets.lock().unwrap().len(), 1);
    }
}
