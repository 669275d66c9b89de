//! Fifty people who look at the same page within a moment get the same page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::ApiError;

/// Nobody reads faster.
const FRESH: Duration = Duration::from_millis(700);

const MOST: usize = 64;

/// Pages by address and by the fleet that the reader may see.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<Key, Arc<Slot>>>);

type Key = (String, Option<String>);

/// Held while the page is rendered, so that it is rendered once.
#[derive(Default)]
struct Slot(Mutex<Option<(Instant, Arc<str>)>>);

impl Cache {
    /// Blocks while somebody else renders the same page.
    pub fn page(
        &self,
        address: &str,
        fleet: Option<&str>,
        render: impl FnOnce() -> Result<String, ApiError>,
    ) -> Result<Arc<str>, ApiError> {
        let slot = self.slot((address.to_owned(), fleet.map(str::to_owned)));
        let mut page = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, page)) = &*page
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(page));
        }
        let rendered: Arc<str> = render()?.into();
        *page = Some((Instant::now(), Arc::clone(&rendered)));
        Ok(rendered)
    }

    fn slot(&self, key: Key) -> Arc<Slot> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.len() >= MOST && !pages.contains_key(&key) {
            pages.clear();
        }
        Arc::clone(pages.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_rendered_once_a_moment_and_for_each_fleet() {
        let cache = Cache::default();
        let page = |fleet, text: &str| {
            let rendered = cache.page("/", fleet, || Ok(text.to_owned()));
            rendered.unwrap().to_string()
        };
        assert_eq!(page(Some("a"), "one"), "one");
        assert_eq!(page(Some("a"), "two"), "one");
        assert_eq!(page(Some("b"), "three"), "three");
        std::thread::sleep(FRESH);
        assert_eq!(page(Some("a"), "four"), "four");
    }
}
