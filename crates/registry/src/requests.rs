//! How many requests each route answered, by status.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;

/// Routes are the router's own patterns, so that no client can add a key.
#[derive(Default)]
pub(crate) struct Requests(Mutex<BTreeMap<(String, u16), u64>>);

impl Requests {
    /// `route` is `None` where no route matched.
    pub fn count(&self, route: Option<&str>, status: StatusCode) {
        let key = (route.unwrap_or("other").to_owned(), status.as_u16());
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_default() += 1;
    }

    pub fn read(&self) -> BTreeMap<(String, u16), u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
