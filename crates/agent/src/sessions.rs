//! What a tester keeps from step to step of a suite.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::protocol::AttemptId;

/// One value a session, made when it is first asked for.
#[derive(Debug)]
pub struct Sessions<T>(Mutex<HashMap<AttemptId, Arc<T>>>);

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Sessions<T> {
    pub fn of(&self, session: &AttemptId) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(session.clone()).or_default())
    }

    /// The session is over: whoever gets the value closes what it holds.
    pub fn end(&self, session: &AttemptId) -> Option<Arc<T>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(session)
    }
}
