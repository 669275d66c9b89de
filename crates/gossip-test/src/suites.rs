//! Which suites there are, and what becomes of a step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::protocol::{Failure, Perform, Performed, Reason};

use crate::session::Session;
use crate::{broadcast, crdt, membership, mesh};

const NAMES: [&str; 3] = ["broadcast", "crdt-sync", "membership"];

/// The sessions of this process. One that was ended with its tester is unknown here,
/// and every step of it answers with nothing.
#[derive(Default)]
pub struct Suites {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

impl Suites {
    /// What `hello` says.
    pub fn capabilities() -> Vec<String> {
        NAMES.iter().map(|name| format!("suite:{name}")).collect()
    }

    /// Does one step of a session.
    ///
    /// # Errors
    /// [`Reason::BadRequest`] for a step that no suite has; else as the step says.
    pub async fn perform(&self, call: Perform) -> Result<Performed, Failure> {
        let id = call.session.to_string();
        match call.step.as_str() {
            "end" => {
                let ended = self.sessions().remove(&id);
                if let Some(session) = ended {
                    session.close().await;
                }
                return Ok(Performed::default());
            }
            // Who was ended in this session stays away from it.
            "join" if !call.absent.contains(&call.node) => {
                let session = Arc::new(Session::open(&call).await?);
                let before = self.sessions().insert(id.clone(), session);
                if let Some(before) = before {
                    before.close().await;
                }
            }
            _ => {}
        }
        let session = self.sessions().get(&id).cloned();
        match session {
            Some(session) => step(&session, &call).await,
            None => Ok(Performed::default()),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn step(session: &Arc<Session>, call: &Perform) -> Result<Performed, Failure> {
    match (call.suite.as_str(), call.step.as_str()) {
        (_, "join") => Ok(mesh::introduce(session)),
        (_, "meet") => mesh::meet(session, call).await,
        (_, "enter") => mesh::enter(session, call).await,
        ("broadcast", _) => broadcast::step(session, call).await,
        ("crdt-sync", _) => crdt::step(session, call).await,
        ("membership", _) => membership::step(session, call).await,
        (suite, _) => Err(Failure::new(
            Reason::BadRequest,
            format!("no suite `{suite}` here"),
        )),
    }
}

/// For a step that its suite does not have.
pub fn no_such_step(call: &Perform) -> Failure {
    Failure::new(
        Reason::BadRequest,
        format!("the suite `{}` has no step `{}`", call.suite, call.step),
    )
}
