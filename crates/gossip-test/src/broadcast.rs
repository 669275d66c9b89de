//! Each peer publishes in turn, and what comes is taken down by every other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::Notes;
use bytes::Bytes;
use model::protocol::{Failure, Perform, Performed};
use saorsa_gossip_membership::Membership as _;
use saorsa_gossip_pubsub::{GossipMessage, PubSub};
use saorsa_gossip_types::{MessageKind, PeerId, TopicId};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::call::{held, params, patience, performed, stack};
use crate::clock::now_ms;
use crate::label::Label;
use crate::node::Node;
use crate::said::{Published, Said, fellows, is_absent};
use crate::session::{Peer, Session};
use crate::suites::no_such_step;

/// As often as an application would look at its membership.
const TOPIC_PEERS: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(20);

/// Who sent copies of which message, in the order in which they came.
#[derive(Default)]
pub struct Copies(Mutex<HashMap<String, Vec<PeerId>>>);

impl Copies {
    /// Notes a frame of pubsub that carries a message of ours.
    pub fn take(&self, from: PeerId, frame: &[u8]) {
        let Ok((message, _)) = postcard::take_from_bytes::<GossipMessage>(frame) else {
            return;
        };
        let payload = message
            .payload
            .filter(|_| message.header.kind == MessageKind::Eager);
        let label = payload.as_deref().and_then(Label::read);
        if let Some((label, _)) = label {
            self.lock().entry(label.key()).or_default().push(from);
        }
    }

    fn of(&self, key: &str) -> Vec<PeerId> {
        self.lock().get(key).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<PeerId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What pubsub handed to the subscriber of this session's topic.
pub struct Inbox {
    topic: TopicId,
    came: Mutex<Vec<(f64, Bytes)>>,
}

impl Inbox {
    pub async fn open(node: &Arc<Node>, session: &str) -> Result<Arc<Self>, Failure> {
        let topic = TopicId::from_entity(session);
        let pubsub = node.pubsub.clone();
        let mut messages = node
            .run(async move { pubsub.subscribe_ready(topic).await })
            .await?;
        let inbox = Arc::new(Self {
            topic,
            came: Mutex::default(),
        });
        let into = inbox.clone();
        node.spawn(async move {
            while let Some((_, message)) = messages.recv().await {
                into.came().push((now_ms(), message));
            }
        });
        Ok(inbox)
    }

    /// Pubsub knows no membership of its own: what HyParView holds active, and is
    /// connected, are the topic's peers.
    pub fn keep_topic_peers(self: &Arc<Self>, node: &Arc<Node>) {
        let (topic, transport) = (self.topic, node.transport.clone());
        let (membership, pubsub) = (node.membership.clone(), node.pubsub.clone());
        node.spawn(async move {
            loop {
                let view = membership.active_view();
                let connected = transport.connected_peers().await;
                let is_connected = |id: &PeerId| connected.iter().any(|(peer, _)| peer == id);
                let peers: Vec<PeerId> = view.into_iter().filter(is_connected).collect();
                // Empty is also what a view says that is being written to.
                if !peers.is_empty() {
                    pubsub.set_topic_peers(topic, peers).await;
                }
                sleep(TOPIC_PEERS).await;
            }
        });
    }

    fn came(&self) -> MutexGuard<'_, Vec<(f64, Bytes)>> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub async fn step(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    let Some(peer) = session.peer() else {
        return Ok(Performed::default());
    };
    match call.step.as_str() {
        "settle" => settle(session, call).await,
        "publish" => publish(session, &peer, call).await,
        "collect" => collect(session, &peer, call).await,
        "hops" => Ok(hops(session, call)),
        _ => Err(no_such_step(call)),
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Settle {
    seconds: u64,
}

async fn settle(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    let Settle { seconds } = params(call)?;
    sleep(Duration::from_secs(seconds)).await;
    Ok(performed(Notes::default(), &session.said()))
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Publish {
    messages: u32,
    bytes: usize,
    /// Between two messages.
    gap_ms: u64,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            messages: 5,
            bytes: 1024,
            gap_ms: 20,
        }
    }
}

async fn publish(session: &Session, peer: &Peer, call: &Perform) -> Result<Performed, Failure> {
    let wanted: Publish = params(call)?;
    for index in 0..wanted.messages {
        let label = Label {
            session: session.id.clone(),
            from: session.name.clone(),
            index,
            sent_ms: now_ms(),
        };
        let (pubsub, topic) = (peer.node.pubsub.clone(), peer.inbox.topic);
        let message = Bytes::from(label.message(wanted.bytes));
        peer.node
            .run(async move { pubsub.publish(topic, message).await })
            .await?
            .map_err(|error| stack("publish", error))?;
        sleep(Duration::from_millis(wanted.gap_ms)).await;
    }
    session.said().published = Some(Published {
        messages: wanted.messages,
        bytes: wanted.bytes,
    });
    Ok(performed(Notes::default(), &session.said()))
}

async fn collect(session: &Session, peer: &Peer, call: &Perform) -> Result<Performed, Failure> {
    let fellows = fellows(call);
    let expected: BTreeMap<String, usize> = fellows
        .iter()
        .filter(|(name, _)| !is_absent(call, name))
        .filter_map(|(name, said)| Some((name, said.published?)))
        .flat_map(|(name, published)| {
            (0..published.messages).map(move |index| (format!("{name}/{index}"), published.bytes))
        })
        .collect();
    let until = Instant::now() + patience(call);
    while Instant::now() < until {
        let came = received(peer, &session.id);
        if expected.keys().all(|key| came.contains_key(key)) {
            break;
        }
        sleep(LOOK).await;
    }
    // Copies of the last message that are still on their way.
    sleep(Duration::from_millis(500)).await;
    let came = received(peer, &session.id);
    Ok(account(session, peer, &fellows, &expected, &came))
}

/// The first of every message, by name.
fn received(peer: &Peer, session: &str) -> HashMap<String, (f64, Label, Bytes)> {
    let mut first = HashMap::new();
    for (at, message) in peer.inbox.came().iter() {
        if let Some((label, body)) = Label::read(message)
            && label.session == session
        {
            let body = message.slice_ref(body);
            first.entry(label.key()).or_insert((*at, label, body));
        }
    }
    first
}

fn account(
    session: &Session,
    peer: &Peer,
    fellows: &BTreeMap<String, Said>,
    expected: &BTreeMap<String, usize>,
    came: &HashMap<String, (f64, Label, Bytes)>,
) -> Performed {
    let mut notes = Notes::default();
    let mut first_copy = BTreeMap::new();
    for (key, length) in expected {
        let copies = peer.node.copies.of(key);
        let Some((at, label, body)) = came.get(key) else {
            let copies = copies.len();
            let why = format!("{key} did not come; {copies} copies reached this peer");
            notes.trial::<()>("delivered", &[], Err(why));
            continue;
        };
        let intact = label.is_body(body, *length);
        let why_not = || format!("{key} came with other bytes");
        notes.trial("delivered", &[], held(intact, why_not));
        if !intact {
            continue;
        }
        notes.sample("delivery_ms", &[], at - label.sent_ms);
        let duplicates = copies.len().saturating_sub(1) as f64;
        notes.sample("duplicates", &[], duplicates);
        let bytes = label.message(*length).len() as f64;
        notes.sample("payload_bytes_per_delivery", &[], bytes);
        let first = copies.first().and_then(|id| name_of(fellows, id));
        if let Some(first) = first {
            first_copy.insert(key.clone(), first);
        }
    }
    session.said().first_copy = first_copy;
    performed(notes, &session.said())
}

fn name_of(fellows: &BTreeMap<String, Said>, id: &PeerId) -> Option<String> {
    let mut named = fellows.iter();
    let found = named.find(|(_, said)| said.peer_id() == Some(*id))?;
    Some(found.0.clone())
}

/// The header's own hop count stays 0 whatever a message went through, so the way is
/// followed back: first copies name the peer that each came from.
fn hops(session: &Session, call: &Perform) -> Performed {
    let fellows = fellows(call);
    let own = session.said().first_copy.clone();
    let first_copy = |node: &str, key: &str| match node == session.name {
        true => own.get(key).cloned(),
        false => fellows.get(node)?.first_copy.get(key).cloned(),
    };
    let mut notes = Notes::default();
    let counted = own.keys();
    let counted = counted.filter_map(|key| count_hops(&session.name, key, first_copy));
    for hops in counted {
        notes.sample("hops", &[], hops as f64);
    }
    performed(notes, &session.said())
}

/// `None` where somebody on the way did not take down whom it had the message from.
fn count_hops(
    to: &str,
    key: &str,
    first_copy: impl Fn(&str, &str) -> Option<String>,
) -> Option<usize> {
    let publisher = key.rsplit_once('/')?.0;
    let mut at = to.to_owned();
    let mut seen = vec![at.clone()];
    while at != publisher {
        at = first_copy(&at, key)?;
        if seen.contains(&at) {
            return None;
        }
        seen.push(at.clone());
    }
    Some(seen.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_followed_back_to_the_publisher() {
        let came_from = |node: &str, _: &str| match node {
            "c" => Some("b".to_owned()),
            "b" => Some("a".to_owned()),
            "e" => Some("d".to_owned()),
            "d" => Some("e".to_owned()),
            _ => None,
        };
        assert_eq!(count_hops("c", "a/7", came_from), Some(2));
        assert_eq!(count_hops("b", "a/7", came_from), Some(1));
        assert_eq!(
            count_hops("e", "a/7", came_from),
            None,
            "a ring has no origin"
        );
        assert_eq!(
            count_hops("f", "a/7", came_from),
            None,
            "f took nothing down"
        );
    }
}
