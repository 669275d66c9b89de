//! The steps of all four suites: a config puts them together.

mod look;
mod transfer;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent::{Notes, millis_since};
use futures::stream::{self, StreamExt as _};
use model::protocol::{Failure, Perform, Performed, Reason};
use saorsa_core::{MultiAddr, PeerId};
use saorsa_node::MAX_CHUNK_SIZE;
use serde::{Deserialize, Serialize};

use crate::chunks::{Chunk, Named};
use crate::node::Node;
use crate::tester::Session;

/// Chunks that one tester has under way: the hosts share one machine on a twin.
const AT_ONCE: usize = 8;
/// Public nodes that a node joins through.
const JOIN_THROUGH: usize = 3;
const POLL: Duration = Duration::from_millis(250);
/// Where a node's own words are kept, over the end of its process.
const SAID: &str = "said.json";

/// A running node, what it is to store, and what it has heard of the others.
pub struct Held {
    pub node: Node,
    root: PathBuf,
    chunks: Vec<Chunk>,
    own: Said,
    others: BTreeMap<String, Said>,
}

/// What a node tells the others of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    peer: String,
    bind: SocketAddr,
    /// What it stores, or is about to.
    chunks: Vec<Named>,
    /// Who has acknowledged each of them.
    copies: Vec<Vec<String>>,
}

pub async fn step(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    let mut held = session.held.lock().await;
    let mut notes = Notes::default();
    match &*call.step {
        "start" => *held = Some(start(call, &mut notes).await?),
        // Whoever was ended and has its directory begins again from it.
        "resume" if held.is_none() && root(call).exists() => {
            *held = Some(resume(call, &mut notes).await?);
        }
        _ => {}
    }
    // Whoever was ended knows nothing, and nothing is learnt of it.
    let Some(held) = held.as_mut() else {
        return Ok(Performed::default());
    };
    held.hear(call);
    match &*call.step {
        "start" | "resume" => {}
        "join" => join(held, call, &mut notes).await,
        "pay" => pay(held, &mut notes),
        "known" => look::known(held, call, &mut notes).await,
        "closest" => look::closest(held, call, &mut notes).await,
        "check" => look::check(held, call, &mut notes).await,
        "store" => transfer::store(held, call, &mut notes).await,
        "keep" => transfer::keep(held, call, &mut notes).await,
        "refuse" => transfer::refuse(held, call, &mut notes).await,
        "fetch" => transfer::fetch(held, call, &mut notes).await,
        "sync" => transfer::sync(held, call, &mut notes).await,
        _ => {
            return Err(Failure::new(
                Reason::Unsupported,
                format!("this tester has no step `{}`", call.step),
            ));
        }
    }
    held.remember();
    Ok(Performed {
        measures: notes.taken(),
        said: serde_json::to_value(&held.own).unwrap_or_default(),
    })
}

/// Nothing of a session stays on the host.
pub fn forget(call: &Perform) {
    let root = root(call);
    if root.exists()
        && let Err(error) = std::fs::remove_dir_all(&root)
    {
        tracing::warn!("cannot remove {}: {error}", root.display());
    }
}

/// Of this session and node alone, and there for the process that comes after this one.
fn root(call: &Perform) -> PathBuf {
    std::env::temp_dir().join(format!("saorsa-node-test-{}-{}", call.session.0, call.node))
}

async fn start(call: &Perform, notes: &mut Notes) -> Result<Held, Failure> {
    forget(call);
    let bind = bind_of(call)?;
    let chunks: Vec<Chunk> = sizes(call).into_iter().map(Chunk::random).collect();
    let began = Instant::now();
    let node = Node::start(bind, &root(call)).await?;
    notes.sample("start_ms", &[], millis_since(began));
    let own = Said {
        peer: node.peer().to_hex(),
        bind,
        chunks: chunks.iter().map(Chunk::named).collect(),
        copies: vec![Vec::new(); chunks.len()],
    };
    Ok(Held {
        node,
        root: root(call),
        chunks,
        own,
        others: BTreeMap::new(),
    })
}

/// On the identity and the store that an ended process left.
async fn resume(call: &Perform, notes: &mut Notes) -> Result<Held, Failure> {
    let root = root(call);
    let own = said_in(&root).map_err(|error| Failure::new(Reason::Infrastructure, error))?;
    let began = Instant::now();
    let node = Node::start(bind_of(call)?, &root).await?;
    notes.sample("resume_ms", &[], millis_since(began));
    if node.peer().to_hex() != own.peer {
        return Err(Failure::new(
            Reason::Stack,
            format!("it came back as {}, not {}", node.peer(), own.peer),
        ));
    }
    Ok(Held {
        node,
        root,
        chunks: Vec::new(),
        own,
        others: BTreeMap::new(),
    })
}

fn said_in(root: &Path) -> Result<Said, String> {
    let file = root.join(SAID);
    let text = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))
}

impl Held {
    /// Whoever is gone later is remembered.
    fn hear(&mut self, call: &Perform) {
        self.others.extend(fellows(call));
    }

    fn remember(&self) {
        let file = self.root.join(SAID);
        let text = serde_json::to_vec(&self.own).unwrap_or_default();
        if let Err(error) = std::fs::write(&file, text) {
            tracing::warn!("cannot write {}: {error}", file.display());
        }
    }

    /// Those that run: whoever was ended and has not come back is not among them.
    fn running<'a>(&'a self, call: &'a Perform) -> impl Iterator<Item = (&'a String, &'a Said)> {
        let here = fellows(call).into_keys().collect::<Vec<_>>();
        self.others
            .iter()
            .filter(move |(node, _)| here.contains(node))
    }
}

fn fellows(call: &Perform) -> BTreeMap<String, Said> {
    let read = |fellow: &model::protocol::Fellow| {
        let said = serde_json::from_value(fellow.said.clone()).ok()?;
        Some((fellow.node.clone(), said))
    };
    call.fellows.iter().filter_map(read).collect()
}

fn is_public(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => !ip.is_private(),
        IpAddr::V6(_) => true,
    }
}

fn bind_of(call: &Perform) -> Result<SocketAddr, Failure> {
    call.bind.ok_or_else(|| {
        Failure::new(
            Reason::BadRequest,
            format!("step `{}` needs an address to bind", call.step),
        )
    })
}

/// `params.sizes`: bytes, one for each chunk.
fn sizes(call: &Perform) -> Vec<usize> {
    let sizes = call.params["sizes"].as_array().into_iter().flatten();
    let sizes = sizes.filter_map(serde_json::Value::as_u64);
    sizes
        .filter_map(|size| usize::try_from(size).ok())
        .map(|size| size.min(MAX_CHUNK_SIZE))
        .collect()
}

/// Through public nodes, as a devnet's nodes do at their start; here all start at once, and
/// know nobody then.
async fn join(held: &Held, call: &Perform, notes: &mut Notes) {
    let began = Instant::now();
    let node = &held.node;
    let through: Vec<_> = fellows(call)
        .into_values()
        .filter(|said| is_public(&said.bind))
        .take(JOIN_THROUGH)
        .collect();
    let joined = within(until(began, call), async {
        let addresses = through.iter().map(|said| MultiAddr::quic(said.bind));
        let addresses: Vec<_> = addresses.collect();
        let dials = addresses.iter().map(|to| node.p2p.connect_peer(to));
        for dialled in futures::future::join_all(dials).await {
            if let Err(error) = dialled {
                tracing::warn!("cannot join: {error}");
            }
        }
        let peers = through.iter().map(|said| PeerId::from_hex(&said.peer));
        let peers: Vec<_> = peers.filter_map(Result::ok).collect();
        let dht = node.p2p.dht_manager();
        dht.bootstrap_from_peers(&peers).await
    });
    let went = match joined.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(why) => Err(why),
    };
    match went {
        Ok(()) => notes.sample("join_ms", &[], millis_since(began)),
        Err(why) => tracing::warn!("joining: {why}"),
    }
}

/// Every tester marks everybody's chunks as paid on its own node: there is no chain.
fn pay(held: &Held, notes: &mut Notes) {
    let all = held.others.values().chain([&held.own]);
    let keys: Vec<_> = all
        .flat_map(|said| &said.chunks)
        .filter_map(Named::key)
        .collect();
    for key in &keys {
        held.node.prepay(*key);
    }
    notes.sample("prepaid", &[], count(keys.len()));
}

/// Who is closest to a key in truth, by everybody's id, this node left out.
fn truly_closest<'a>(
    key: [u8; 32],
    peers: impl Iterator<Item = &'a String>,
    many: usize,
) -> Vec<PeerId> {
    let key = PeerId::from_bytes(key);
    let mut peers: Vec<_> = peers
        .filter_map(|peer| PeerId::from_hex(peer).ok())
        .collect();
    peers.sort_by_key(|peer| peer.xor_distance(&key));
    peers.truncate(many);
    peers
}

fn count(many: usize) -> f64 {
    u32::try_from(many).unwrap_or(u32::MAX).into()
}

/// What is left of the step, but for a second to answer in.
fn limit_of(call: &Perform) -> Duration {
    Duration::from_millis(call.timeout_ms.saturating_sub(1000))
}

/// When a step that began then has to come to its end.
fn until(began: Instant, call: &Perform) -> Instant {
    began + limit_of(call)
}

/// What is under way when a step's time is up has failed, and says so.
async fn within<T>(until: Instant, work: impl Future<Output = T>) -> Result<T, String> {
    let left = until.saturating_duration_since(Instant::now());
    let ended = tokio::time::timeout(left, work).await;
    ended.map_err(|_| "the step's time was up".to_owned())
}

/// All of these in their order, a few at once.
async fn each<T, F: Future<Output = T>>(all: impl Iterator<Item = F>) -> Vec<T> {
    let all: Vec<F> = all.collect();
    stream::iter(all).buffered(AT_ONCE).collect().await
}
