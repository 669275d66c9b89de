//! How many requests each route answered, by status, and how long it took.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;

/// Upper bounds of the histogram's buckets, in seconds.
pub(crate) const BOUNDS: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.25, 1.0];

/// Routes are the router's own patterns, so that no client can add a key.
#[derive(Default)]
pub(crate) struct Requests(Mutex<Counts>);

#[derive(Default, Clone)]
pub(crate) struct Counts {
    pub by_route: BTreeMap<(String, u16), u64>,
    /// Requests that took no longer than each bound.
    pub within: [u64; BOUNDS.len()],
    pub count: u64,
    pub seconds: f64,
}

impl Requests {
    /// `route` is `None` where no route matched.
    pub fn count(&self, route: Option<&str>, status: StatusCode, took: Duration) {
        let key = (route.unwrap_or("other").to_owned(), status.as_u16());
        let seconds = took.as_secs_f64();
        let mut counts = self.lock();
        *counts.by_route.entry(key).or_default() += 1;
        counts.count += 1;
        counts.seconds += seconds;
        for (within, bound) in counts.within.iter_mut().zip(BOUNDS) {
            *within += u64::from(seconds <= bound);
        }
    }

    pub fn read(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
