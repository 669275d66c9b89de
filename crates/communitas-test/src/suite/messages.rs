//! Messages between nodes: each has a program of its own, which networks, joins one
//! entity, sends a message and reads everybody else's.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::Notes;
use model::protocol::{AttemptId, Failure, Fellow, Perform, Performed};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{number, performed};
use crate::client::Client;

const LOOK: Duration = Duration::from_millis(250);
const ENTITY: &str = "talk";
const KIND: &str = "group";

/// One for each session.
#[derive(Default)]
pub struct Talks(Mutex<HashMap<AttemptId, Arc<Talk>>>);

struct Talk {
    client: Client,
    /// What the others are told of this node.
    said: Mutex<Value>,
}

impl Talks {
    pub async fn perform(&self, call: Perform) -> Result<Performed, Failure> {
        if call.step == "start" {
            return self.start(&call).await;
        }
        if call.step == "end" {
            let ended = self.0.lock().await.remove(&call.session);
            if let Some(talk) = ended.and_then(Arc::into_inner) {
                talk.client.stop().await;
            }
            return Ok(Performed::default());
        }
        let talk = self.0.lock().await.get(&call.session).map(Arc::clone);
        // It did not start, which is taken down already, or was killed meanwhile.
        let Some(talk) = talk else {
            return Ok(Performed::default());
        };
        let measures = match call.step.as_str() {
            "connect" => talk.connect(&call).await,
            "create" => talk.create(&call).await,
            "join" => talk.join(&call).await,
            "send" => talk.send().await,
            "collect" => talk.collect(&call).await,
            _ => Performed::default(),
        };
        Ok(Performed {
            said: talk.said.lock().await.clone(),
            ..measures
        })
    }

    async fn start(&self, call: &Perform) -> Result<Performed, Failure> {
        let mut notes = Notes::default();
        let started = match Client::start().await? {
            Ok(client) => network(client, call).await,
            Err(why) => Err(why),
        };
        let mut said = Value::Null;
        if let Some(talk) = notes.trial("entities", &[], started) {
            said = talk.said.lock().await.clone();
            self.0
                .lock()
                .await
                .insert(call.session.clone(), talk.into());
        }
        Ok(Performed {
            said,
            ..performed(notes)
        })
    }
}

async fn network(client: Client, call: &Perform) -> Result<Talk, String> {
    let port = call.bind.map(|bind| bind.port());
    let session = client.call("get_session", json!({})).await?;
    let network = client
        .call("network_start", json!({ "preferred_port": port }))
        .await?;
    let said = json!({
        "words": session["four_words"],
        "identity": network["connection_identity"],
        "public": call.bind.is_some_and(|bind| is_public(bind.ip())),
    });
    Ok(Talk {
        client,
        said: Mutex::new(said),
    })
}

/// Nobody outside can dial what a private address names.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_private(),
        IpAddr::V6(v6) => !v6.is_unique_local(),
    }
}

/// Who makes the entity: the first that everybody can reach.
fn owner(fellows: &[Fellow]) -> Option<&Fellow> {
    let public = fellows
        .iter()
        .filter(|fellow| fellow.said["public"] == true);
    public.min_by(|a, b| a.node.cmp(&b.node))
}

impl Talk {
    async fn connect(&self, call: &Perform) -> Performed {
        let mut notes = Notes::default();
        for fellow in call.fellows.iter().filter(|f| f.said["public"] == true) {
            let arguments = json!({ "peer_four_words": fellow.said["identity"] });
            let outcome = self.client.call("network_connect", arguments).await;
            notes.trial(
                "claimed_connected",
                &[],
                outcome.map_err(|why| format!("to {}: {why}", fellow.node)),
            );
        }
        performed(notes)
    }

    async fn create(&self, call: &Perform) -> Performed {
        let mine = Fellow {
            node: call.node.clone(),
            said: self.said.lock().await.clone(),
        };
        let everybody: Vec<Fellow> = call.fellows.iter().cloned().chain([mine]).collect();
        if owner(&everybody).is_none_or(|owner| owner.node != call.node) {
            return Performed::default();
        }
        let mut notes = Notes::default();
        let made = self.client.call(
            "create_entity",
            json!({ "name": ENTITY, "entity_type": KIND }),
        );
        if let Some(made) = notes.trial("entities", &[], made.await) {
            let id = made["id"].clone();
            self.said.lock().await["entity"] = id.clone();
            let mut members = vec![];
            for fellow in &call.fellows {
                let words = fellow.said["words"].clone();
                let arguments = json!({ "entity_type": KIND, "entity_id": id, "member_id": words, "role": "member" });
                notes.trial(
                    "entities",
                    &[],
                    self.client.call("add_member", arguments).await,
                );
                members.push(words);
            }
            let listed = self.client.call(
                "list_members",
                json!({ "entity_type": KIND, "entity_id": id }),
            );
            notes.trial(
                "entities",
                &[],
                listed
                    .await
                    .and_then(|listed| all_listed(&listed, &members)),
            );
        }
        performed(notes)
    }

    async fn join(&self, call: &Perform) -> Performed {
        let Some(owner) = call.fellows.iter().find(|f| f.said["entity"].is_string()) else {
            return Performed::default();
        };
        let mut notes = Notes::default();
        let arguments = json!({
            "id": owner.said["entity"], "name": ENTITY, "entity_type": KIND,
            "created_by": owner.said["words"],
        });
        if notes
            .trial(
                "entities",
                &[],
                self.client.call("join_entity", arguments).await,
            )
            .is_some()
        {
            self.said.lock().await["entity"] = owner.said["entity"].clone();
        }
        performed(notes)
    }

    /// A text that is nobody else's.
    async fn send(&self) -> Performed {
        let entity = self.said.lock().await["entity"].clone();
        if entity.is_null() {
            return Performed::default();
        }
        let mut notes = Notes::default();
        let text = format!("{:032x}", rand::random::<u128>());
        let arguments = json!({ "entity_id": entity, "entity_type": KIND, "text": text });
        let at = now_ms();
        if notes
            .trial(
                "entities",
                &[],
                self.client.call("send_message", arguments).await,
            )
            .is_some()
        {
            let mut said = self.said.lock().await;
            said["text"] = text.into();
            said["sent_ms"] = at.into();
        }
        performed(notes)
    }

    async fn collect(&self, call: &Perform) -> Performed {
        let wanted: BTreeMap<&str, (&str, f64)> = call
            .fellows
            .iter()
            .filter_map(|fellow| {
                let sent = fellow.said["sent_ms"].as_f64()?;
                Some((fellow.said["text"].as_str()?, (fellow.node.as_str(), sent)))
            })
            .collect();
        let mut came: BTreeMap<&str, f64> = BTreeMap::new();
        let entity = self.said.lock().await["entity"].clone();
        let patience = Duration::from_secs(number(call, "seconds", 30));
        let until = tokio::time::Instant::now() + patience;
        let mut last = String::new();
        while came.len() < wanted.len() && tokio::time::Instant::now() < until {
            match self
                .client
                .call("get_messages", json!({ "entity_id": entity }))
                .await
            {
                Ok(read) => {
                    let read = read.to_string();
                    for (text, (_, sent)) in &wanted {
                        if !came.contains_key(text) && read.contains(*text) {
                            came.insert(text, now_ms() - sent);
                        }
                    }
                }
                Err(why) => last = format!(" ({why})"),
            }
            tokio::time::sleep(LOOK).await;
        }
        let mut notes = Notes::default();
        for took in came.values() {
            notes.sample("delivery_ms", &[], *took);
        }
        for (text, (node, _)) in &wanted {
            let missing = format!("the message of {node} is not here after {patience:?}{last}");
            notes.trial("delivered", &[], came.get(text).ok_or(missing));
        }
        performed(notes)
    }
}

fn all_listed(listed: &Value, members: &[Value]) -> Result<(), String> {
    let listed = listed.to_string();
    let is_there = |member: &Value| member.as_str().is_some_and(|words| listed.contains(words));
    match members.iter().find(|member| !is_there(member)) {
        None => Ok(()),
        Some(member) => Err(format!(
            "list_members: {member} was added and is not listed"
        )),
    }
}

#[expect(clippy::cast_precision_loss, reason = "below 2^52 for many centuries")]
fn now_ms() -> f64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as f64
}
