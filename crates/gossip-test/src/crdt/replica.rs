//! One peer's CRDTs, and how they travel: the stack makes deltas and merges them, the
//! application carries them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::protocol::Failure;
use saorsa_gossip_crdt_sync::{AntiEntropyManager, LwwRegister, OrSet, OrSetDelta};
use saorsa_gossip_transport::{GossipStreamType, GossipTransport};
use saorsa_gossip_types::PeerId;
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;
use tracing::debug;

use super::edit::{Edit, Tag};
use crate::call::stack;
use crate::clock::now_ms;
use crate::node::Node;
use crate::said::Said;

const SYNC_SECONDS: u64 = 1;

/// Written by two peers alone.
pub const BY_TWO: &str = "lww-register, 2 writers";
/// Written by all of them.
pub const BY_ALL: &str = "lww-register, all write";
pub const SET: &str = "or-set";

#[derive(Serialize, Deserialize)]
enum Frame {
    Set(OrSetDelta<String>),
    Register(String, LwwRegister<String>),
}

pub struct Replica {
    id: PeerId,
    set: Arc<RwLock<OrSet<String>>>,
    manager: AntiEntropyManager<OrSet<String>>,
    registers: Mutex<BTreeMap<&'static str, LwwRegister<String>>>,
    /// By CRDT: when what it says last changed.
    changed: Mutex<BTreeMap<&'static str, (String, f64)>>,
    adds: Mutex<u64>,
}

impl Replica {
    pub async fn open(node: &Arc<Node>) -> Result<Arc<Self>, Failure> {
        let set = Arc::new(RwLock::new(OrSet::new()));
        let manager = AntiEntropyManager::new(set.clone(), SYNC_SECONDS);
        let registers = [BY_TWO, BY_ALL].map(|name| (name, LwwRegister::new(String::new())));
        let replica = Arc::new(Self {
            id: node.id(),
            set,
            manager,
            registers: Mutex::new(BTreeMap::from(registers)),
            changed: Mutex::default(),
            adds: Mutex::default(),
        });
        if let Some(mut frames) = node.bulk() {
            let into = replica.clone();
            node.spawn(async move {
                while let Some((from, frame)) = frames.recv().await {
                    into.take(from, &frame).await;
                    into.look().await;
                }
            });
        }
        Ok(replica)
    }

    /// Exchanges states with every fellow that is connected, from now on.
    pub fn keep_in_step(self: &Arc<Self>, node: &Arc<Node>, fellows: BTreeMap<String, Said>) {
        let (replica, transport) = (self.clone(), node.transport.clone());
        node.spawn(async move {
            let carrier = transport.clone();
            let started = replica.manager.start(move |peer, delta| {
                let carrier = carrier.clone();
                Box::pin(async move {
                    let frame = postcard::to_stdvec(&Frame::Set(delta))?;
                    carrier
                        .send_to_peer(peer, GossipStreamType::Bulk, frame.into())
                        .await
                })
            });
            if let Err(error) = started.await {
                debug!("anti-entropy does not run: {error:#}");
            }
            let known: HashSet<PeerId> = fellows.values().filter_map(Said::peer_id).collect();
            let mut tended = HashSet::new();
            loop {
                let connected = transport.connected_peer_ids().await;
                let now: HashSet<PeerId> = connected
                    .into_iter()
                    .filter(|id| known.contains(id))
                    .collect();
                // Whoever was away may lack what was sent to it before.
                for gone in tended.difference(&now) {
                    replica.manager.remove_peer(gone).await;
                }
                for here in now.difference(&tended) {
                    replica.manager.add_peer(*here).await;
                }
                for peer in &now {
                    replica.send_registers(&transport, *peer);
                }
                tended = now;
                tokio::time::sleep(Duration::from_secs(SYNC_SECONDS)).await;
            }
        });
    }

    pub async fn add(&self, element: String) -> Result<Edit, Failure> {
        let count = {
            let mut adds = self.adds.lock().unwrap_or_else(PoisonError::into_inner);
            *adds += 1;
            *adds
        };
        let added = self
            .set
            .write()
            .await
            .add(element.clone(), (self.id, count));
        added.map_err(|error| stack("OrSet add", error))?;
        Ok(Edit::Add {
            element,
            tag: (write_id(&self.id), count),
        })
    }

    pub async fn remove(&self, element: String) -> Result<Edit, Failure> {
        let mut set = self.set.write().await;
        let seen = tags(&set, &element);
        set.remove(&element)
            .map_err(|error| stack("OrSet remove", error))?;
        Ok(Edit::Remove { element, seen })
    }

    pub fn write(&self, name: &'static str, value: String) -> Edit {
        let mut registers = self.registers();
        let register = registers
            .entry(name)
            .or_insert_with(|| LwwRegister::new(String::new()));
        register.set(value.clone(), self.id);
        Edit::Write {
            register: name.into(),
            value,
            clock: clock(register),
        }
    }

    pub async fn elements(&self) -> BTreeSet<String> {
        self.set
            .read()
            .await
            .elements()
            .into_iter()
            .cloned()
            .collect()
    }

    pub fn value(&self, name: &str) -> String {
        let registers = self.registers();
        registers
            .get(name)
            .map(|register| register.get().clone())
            .unwrap_or_default()
    }

    /// What each CRDT says, in a form that can be compared.
    pub async fn states(&self) -> BTreeMap<&'static str, String> {
        let elements: Vec<String> = self.elements().await.into_iter().collect();
        let set = serde_json::to_string(&elements).unwrap_or_default();
        BTreeMap::from([
            (SET, set),
            (BY_TWO, self.value(BY_TWO)),
            (BY_ALL, self.value(BY_ALL)),
        ])
    }

    /// Takes down which CRDTs say something new.
    pub async fn look(&self) {
        let now = now_ms();
        let states = self.states().await;
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, state) in states {
            if changed.get(name).is_none_or(|(last, _)| *last != state) {
                changed.insert(name, (state, now));
            }
        }
    }

    pub fn changed_ms(&self, name: &str) -> Option<f64> {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.get(name).map(|(_, at)| *at)
    }

    async fn take(&self, from: PeerId, frame: &[u8]) {
        match postcard::from_bytes(frame) {
            Ok(Frame::Set(delta)) => {
                let version = delta.version;
                if let Err(error) = self.manager.apply_delta(from, &delta, version).await {
                    debug!("a delta from {from}: {error:#}");
                }
            }
            Ok(Frame::Register(name, theirs)) => {
                if let Some(ours) = self.registers().get_mut(name.as_str()) {
                    ours.merge(&theirs);
                }
            }
            Err(error) => debug!("a frame from {from}: {error}"),
        }
    }

    /// Registers have no deltas: all of each, every time.
    fn send_registers(
        &self,
        transport: &Arc<saorsa_gossip_transport::UdpTransportAdapter>,
        peer: PeerId,
    ) {
        let frames: Vec<Vec<u8>> = self
            .registers()
            .iter()
            .filter_map(|(name, register)| {
                postcard::to_stdvec(&Frame::Register((*name).into(), register.clone())).ok()
            })
            .collect();
        let transport = transport.clone();
        tokio::spawn(async move {
            for frame in frames {
                let sent = transport.send_to_peer(peer, GossipStreamType::Bulk, frame.into());
                if let Err(error) = sent.await {
                    debug!("registers to {peer}: {error:#}");
                }
            }
        });
    }

    fn registers(&self) -> MutexGuard<'_, BTreeMap<&'static str, LwwRegister<String>>> {
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a remove is about to see. The set has no call for it, but writes itself down.
fn tags(set: &OrSet<String>, element: &str) -> Vec<Tag> {
    let wire = serde_json::to_value(set.canonical_retained_wire()).unwrap_or_default();
    let tags: Vec<(PeerId, u64)> =
        serde_json::from_value(wire["elements"][element].clone()).unwrap_or_default();
    tags.iter()
        .map(|(peer, count)| (write_id(peer), *count))
        .collect()
}

fn clock(register: &LwwRegister<String>) -> BTreeMap<String, u64> {
    // The clock has no list of its peers, but writes itself down.
    let bytes = postcard::to_stdvec(register.clock()).unwrap_or_default();
    let clocks: BTreeMap<PeerKey, u64> = postcard::from_bytes(&bytes).unwrap_or_default();
    clocks
        .into_iter()
        .map(|(peer, count)| (hex::encode(peer.0), count))
        .collect()
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct PeerKey([u8; 32]);

fn write_id(id: &PeerId) -> String {
    hex::encode(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_stack_keeps_to_itself_is_read_from_what_it_writes() {
        let (one, other) = (PeerId::new([1; 32]), PeerId::new([2; 32]));
        let mut set = OrSet::new();
        set.add("x".to_owned(), (one, 1)).unwrap();
        set.add("x".to_owned(), (other, 7)).unwrap();
        assert_eq!(
            tags(&set, "x"),
            [(write_id(&one), 1), (write_id(&other), 7)]
        );
        assert!(tags(&set, "y").is_empty());

        let mut register = LwwRegister::new(String::new());
        register.set("v".into(), one);
        register.set("w".into(), other);
        register.set("z".into(), other);
        let expected = BTreeMap::from([(write_id(&one), 1), (write_id(&other), 2)]);
        assert_eq!(clock(&register), expected);
    }
}
