//! The attempts of this process, by id.
//!
//! An attempt ends by `finish`, or by five minutes without a call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::protocol::{AttemptId, Failure, Reason};
use tokio_util::sync::CancellationToken;

/// An attempt that nobody asked about for this long is given up.
pub(crate) const EXPIRY: Duration = Duration::from_secs(300);

pub(crate) struct Attempts<A> {
    entries: Mutex<HashMap<AttemptId, Entry<A>>>,
}

struct Entry<A> {
    /// `None` while `prepare` runs.
    attempt: Option<Arc<A>>,
    ended: CancellationToken,
    used: Instant,
}

/// A hold on an attempt for the length of one call.
pub(crate) struct Held<A> {
    pub attempt: Arc<A>,
    /// Cancelled when the attempt ends, and the call with it.
    pub ended: CancellationToken,
}

impl<A> Attempts<A> {
    pub fn new() -> Self {
        Self {
            entries: Mutex::new(HashMap::new()),
        }
    }

    /// Takes the id before anything is bound for it.
    pub fn reserve(&self, id: &AttemptId) -> Result<CancellationToken, Failure> {
        let mut entries = self.lock();
        if entries.contains_key(id) {
            return Err(bad_request(format!("attempt `{id}` was prepared before")));
        }
        let ended = CancellationToken::new();
        entries.insert(
            id.clone(),
            Entry {
                attempt: None,
                ended: ended.clone(),
                used: Instant::now(),
            },
        );
        Ok(ended)
    }

    /// Fills a reservation; gives the attempt back if it ended meanwhile.
    pub fn fill(&self, id: &AttemptId, attempt: A) -> Result<(), Arc<A>> {
        let attempt = Arc::new(attempt);
        match self.lock().get_mut(id) {
            Some(entry) if entry.attempt.is_none() => {
                entry.attempt = Some(attempt);
                entry.used = Instant::now();
                Ok(())
            }
            _ => Err(attempt),
        }
    }

    pub fn hold(&self, id: &AttemptId) -> Result<Held<A>, Failure> {
        let mut entries = self.lock();
        let entry = entries.get_mut(id).ok_or_else(|| unknown(id))?;
        entry.used = Instant::now();
        let attempt = entry
            .attempt
            .clone()
            .ok_or_else(|| bad_request(format!("attempt `{id}` is still being prepared")))?;
        Ok(Held {
            attempt,
            ended: entry.ended.clone(),
        })
    }

    /// Ends an attempt: its running calls are cancelled. `None` where it was never ready.
    pub fn end(&self, id: &AttemptId) -> Result<Option<Arc<A>>, Failure> {
        let entry = self.lock().remove(id).ok_or_else(|| unknown(id))?;
        entry.ended.cancel();
        Ok(entry.attempt)
    }

    /// Ends every attempt that was not used since `now - EXPIRY`.
    pub fn end_expired(&self, now: Instant) -> Vec<(AttemptId, Option<Arc<A>>)> {
        self.end_where(|entry| now.saturating_duration_since(entry.used) > EXPIRY)
    }

    pub fn end_all(&self) -> Vec<(AttemptId, Option<Arc<A>>)> {
        self.end_where(|_| true)
    }

    pub fn knows(&self, id: &AttemptId) -> bool {
        self.lock().contains_key(id)
    }

    pub fn open(&self) -> usize {
        self.lock().len()
    }

    fn end_where(&self, ends: impl Fn(&Entry<A>) -> bool) -> Vec<(AttemptId, Option<Arc<A>>)> {
        self.lock()
            .extract_if(|_, entry| ends(entry))
            .map(|(id, entry)| {
                entry.ended.cancel();
                (id, entry.attempt)
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Entry<A>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(id: &AttemptId) -> Failure {
    bad_request(format!("no attempt `{id}` here: prepare it first"))
}

fn bad_request(detail: String) -> Failure {
    Failure::new(Reason::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AttemptId {
        AttemptId(text.into())
    }

    #[test]
    fn an_id_is_used_once() {
        let attempts = Attempts::<()>::new();
        attempts.reserve(&id("a")).unwrap();
        assert_eq!(
            attempts.reserve(&id("a")).unwrap_err().reason,
            Reason::BadRequest
        );
    }

    #[test]
    fn ending_cancels_what_runs() {
        let attempts = Attempts::new();
        attempts.reserve(&id("a")).unwrap();
        attempts.fill(&id("a"), 7).unwrap();
        let held = attempts.hold(&id("a")).unwrap();
        assert_eq!(attempts.end(&id("a")).unwrap().as_deref(), Some(&7));
        assert!(held.ended.is_cancelled());
        assert!(attempts.hold(&id("a")).is_err());
    }

    #[test]
    fn an_attempt_that_ended_during_prepare_is_given_back() {
        let attempts = Attempts::new();
        attempts.reserve(&id("a")).unwrap();
        assert!(attempts.end(&id("a")).unwrap().is_none());
        assert_eq!(*attempts.fill(&id("a"), 7).unwrap_err(), 7);
    }

    #[test]
    fn silence_expires() {
        let attempts = Attempts::new();
        attempts.reserve(&id("a")).unwrap();
        attempts.fill(&id("a"), 7).unwrap();
        let now = Instant::now();
        assert!(attempts.end_expired(now).is_empty());
        let later = now + EXPIRY + Duration::from_secs(1);
        assert_eq!(attempts.end_expired(later).len(), 1);
        assert_eq!(attempts.open(), 0);
    }
}
