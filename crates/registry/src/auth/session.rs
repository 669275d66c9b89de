//! A person's browser, logged in with a token: a random cookie stands for it.
//!
//! The session holds the token's id and no more; a token that is revoked or ends
//! takes its sessions with it. After a restart people log in again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;

const LIVES: Duration = Duration::from_secs(12 * 3600);
const MOST: usize = 1024;

#[derive(Default)]
pub struct Sessions(Mutex<HashMap<String, Session>>);

#[derive(Debug, Clone)]
pub struct Session {
    pub token_id: String,
    /// Forms carry it: another site cannot know it.
    pub csrf: String,
    since: Instant,
}

impl Session {
    pub fn is_own_form(&self, csrf: &str) -> bool {
        self.csrf.as_bytes().ct_eq(csrf.as_bytes()).into()
    }
}

fn random() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

impl Sessions {
    /// Returns what the cookie holds.
    pub fn open(&self, token_id: &str, now: Instant) -> String {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| !session.is_over(now));
        if sessions.len() >= MOST
            && let Some(oldest) = sessions
                .iter()
                .min_by_key(|(_, session)| session.since)
                .map(|(key, _)| key.clone())
        {
            sessions.remove(&oldest);
        }
        let key = random();
        let session = Session {
            token_id: token_id.to_owned(),
            csrf: random(),
            since: now,
        };
        sessions.insert(key.clone(), session);
        key
    }

    pub fn find(&self, key: &str, now: Instant) -> Option<Session> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions
            .get(key)
            .filter(|session| !session.is_over(now))
            .cloned()
    }

    pub fn close(&self, key: &str) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(key);
    }
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > LIVES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_opens_closes_and_ends_by_itself() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let key = sessions.open("id", now);
        let session = sessions.find(&key, now).unwrap();
        assert_eq!(session.token_id, "id");
        assert!(session.is_own_form(&session.csrf));
        assert!(!session.is_own_form(""));
        let later = now + LIVES + Duration::from_secs(1);
        assert!(sessions.find(&key, later).is_none());
        sessions.close(&key);
        assert!(sessions.find(&key, now).is_none());
    }

    #[test]
    fn the_oldest_makes_room() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let first = sessions.open("first", now);
        for n in 1..=MOST as u64 {
            sessions.open("more", now + Duration::from_millis(n));
        }
        assert!(sessions.find(&first, now).is_none());
    }
}
