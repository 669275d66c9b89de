//! The headless daemon's lives: started, stopped in order, killed, started again, and
//! what it kept.

use std::net::SocketAddr;
use std::path::Path;

use agent::Notes;
use model::protocol::{Failure, Perform, Performed, Reason};
use serde_json::json;

use super::{number, performed};
use crate::daemon::Daemon;
use crate::program;

struct Lives {
    at: SocketAddr,
    notes: Notes,
}

pub async fn lives(call: &Perform) -> Result<Performed, Failure> {
    let at = call
        .bind
        .ok_or_else(|| Failure::new(Reason::BadRequest, "this step needs `bind`"))?;
    let notes = Notes::default();
    let mut lives = Lives { at, notes };
    for _ in 0..number(call, "times", 2) {
        lives.live().await?;
    }
    Ok(performed(lives.notes))
}

impl Lives {
    /// Three lives on one storage: the first is ended in order, the second by SIGKILL.
    async fn live(&mut self) -> Result<(), Failure> {
        let storage = program::storage()?;
        let Some(mut first) = self.start(storage.path(), None).await? else {
            return Ok(());
        };
        let known = async {
            let session = first.call("get_session", json!({})).await?;
            let words = session["four_words"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            Ok((words, create(&mut first).await?))
        };
        let known: Result<(String, String), String> = known.await;
        self.notes.trial("stops", &[], first.stop().await);
        let Some((words, entity)) = self.notes.trial("kept", &[], known) else {
            return Ok(());
        };
        let Some(mut second) = self.start(storage.path(), Some(&words)).await? else {
            return Ok(());
        };
        self.notes.trial(
            "kept",
            &[],
            has(&mut second, &entity, "a stop in order").await,
        );
        let later = create(&mut second).await;
        second
            .crash()
            .await
            .map_err(|e| Failure::new(Reason::Stack, e))?;
        let Some(mut third) = self.start(storage.path(), Some(&words)).await? else {
            return Ok(());
        };
        if let Some(later) = self.notes.trial("kept", &[], later) {
            self.notes
                .trial("kept", &[], has(&mut third, &later, "SIGKILL").await);
        }
        self.notes.trial("stops", &[], third.stop().await);
        Ok(())
    }

    async fn start(
        &mut self,
        storage: &Path,
        identity: Option<&str>,
    ) -> Result<Option<Daemon>, Failure> {
        let (mut daemon, started) = Daemon::start(self.at, storage, identity).await?;
        let started = match started {
            Ok(took) => daemon.initialize().await.map(|()| took),
            Err(why) => Err(why),
        };
        Ok(self.notes.trial("starts", &[], started).map(|took| {
            self.notes.sample("start_ms", &[], took);
            daemon
        }))
    }
}

async fn create(daemon: &mut Daemon) -> Result<String, String> {
    let name = format!("kept-{:08x}", rand::random::<u32>());
    let arguments = json!({ "name": name, "entity_type": "group" });
    let made = daemon.call("create_entity", arguments).await?;
    let id = made["id"]
        .as_str()
        .ok_or(format!("create_entity: no id in {made}"))?;
    Ok(id.to_owned())
}

async fn has(daemon: &mut Daemon, entity: &str, after: &str) -> Result<(), String> {
    let arguments = json!({ "entity_id": entity, "entity_type": "group" });
    match daemon.call("get_entity", arguments).await {
        Ok(found) if found.to_string().contains(entity) => Ok(()),
        Ok(found) => Err(format!("after {after}: get_entity says {found}")),
        Err(why) => Err(format!("after {after}: {why}")),
    }
}
