//! The steps of all four suites: they are put together in the config.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use agent::{Notes, millis_since};
use ant_node::{CLOSE_GROUP_MAJORITY, CLOSE_GROUP_SIZE, MAX_CHUNK_SIZE};
use model::protocol::{Failure, Perform, Performed, Reason};
use saorsa_core::{MultiAddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::chunks::{Chunk, Named, closest, each, put, retrieve, store};
use crate::node::{Node, root_of};
use crate::tester::Session;

/// Chunks that one tester has under way: the hosts share one machine on a twin.
const AT_ONCE: usize = 2;
/// Public nodes that a node joins through.
const JOIN_THROUGH: usize = 3;
const POLL: Duration = Duration::from_millis(500);

/// A running node, and the chunks that it is to store.
#[derive(Debug)]
pub struct Held {
    pub node: Node,
    chunks: Vec<Chunk>,
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
        "start" => {
            forget(call);
            let chunks = chunks_of(call);
            *held = Some(start(call, chunks, &mut notes).await?);
        }
        // Whoever was ended and has its directory begins again from it.
        "resume" if held.is_none() && root(call).exists() => {
            *held = Some(start(call, Vec::new(), &mut notes).await?);
            notes = renamed(notes);
        }
        _ => {}
    }
    // Whoever was ended knows nothing, and nothing is learnt of it.
    let Some(held) = held.as_ref() else {
        return Ok(Performed::default());
    };
    let mut copies = None;
    match &*call.step {
        "start" | "resume" => {}
        "pay" => pay(held, call, &mut notes).await,
        "check" => check(held, call, &mut notes).await,
        "store" => copies = Some(store_all(held, call, &mut notes).await),
        "refuse" => refuse(held, &mut notes).await,
        "fetch" => fetch(held, call, &mut notes).await,
        "sync" => sync(held, call, &mut notes).await,
        _ => {
            return Err(Failure::new(
                Reason::Unsupported,
                format!("this tester has no step `{}`", call.step),
            ));
        }
    }
    let said = match (copies, &*call.step) {
        (None, "start") => say(held, call, Vec::new())?,
        (Some(copies), _) => say(held, call, copies)?,
        _ => serde_json::Value::Null,
    };
    Ok(Performed {
        measures: notes.taken(),
        said,
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

fn root(call: &Perform) -> std::path::PathBuf {
    root_of(&call.session.0, &call.node)
}

fn bind_of(call: &Perform) -> Result<SocketAddr, Failure> {
    call.bind.ok_or_else(|| {
        Failure::new(
            Reason::BadRequest,
            format!("step `{}` needs an address to bind", call.step),
        )
    })
}

fn say(
    held: &Held,
    call: &Perform,
    copies: Vec<Vec<PeerId>>,
) -> Result<serde_json::Value, Failure> {
    let said = Said {
        peer: held.node.peer().to_hex(),
        bind: bind_of(call)?,
        chunks: held.chunks.iter().map(Chunk::named).collect(),
        copies: copies
            .iter()
            .map(|peers| peers.iter().map(PeerId::to_hex).collect())
            .collect(),
    };
    Ok(serde_json::to_value(said).unwrap_or_default())
}

fn fellows(call: &Perform) -> Vec<(String, Said)> {
    let read = |fellow: &model::protocol::Fellow| {
        let said = serde_json::from_value(fellow.said.clone()).ok()?;
        Some((fellow.node.clone(), said))
    };
    call.fellows.iter().filter_map(read).collect()
}

/// `params.sizes`, each `params.each` times.
fn chunks_of(call: &Perform) -> Vec<Chunk> {
    let sizes = call.params["sizes"].as_array().cloned().unwrap_or_default();
    let sizes = sizes.iter().filter_map(serde_json::Value::as_u64);
    let times = call.params["each"].as_u64().unwrap_or(1);
    sizes
        .flat_map(|size| (0..times).map(move |_| size))
        .map(|size| Chunk::random(usize::try_from(size).unwrap_or(1024).min(MAX_CHUNK_SIZE)))
        .collect()
}

/// Joins through the public nodes that are there already, as a devnet does.
async fn start(call: &Perform, chunks: Vec<Chunk>, notes: &mut Notes) -> Result<Held, Failure> {
    let bind = bind_of(call)?;
    if std::net::UdpSocket::bind(bind).is_err() {
        return Err(Failure::new(
            Reason::Infrastructure,
            format!("{bind} is taken"),
        ));
    }
    let through = public(call);
    let began = Instant::now();
    let node = Node::start(bind, &through, &root(call)).await?;
    notes.sample("start_ms", &[], millis_since(began));
    Ok(Held { node, chunks })
}

fn renamed(notes: Notes) -> Notes {
    let mut renamed = Notes::default();
    for taken in notes.taken() {
        if let ("start_ms", model::measure::Values::Samples(numbers)) = (&*taken.name, taken.values)
        {
            for number in numbers {
                renamed.sample("resume_ms", &[], number);
            }
        }
    }
    renamed
}

fn public(call: &Perform) -> Vec<SocketAddr> {
    let is_public = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => !ip.is_private(),
        IpAddr::V6(_) => true,
    };
    let binds = fellows(call).into_iter().map(|(_, said)| said.bind);
    binds.filter(is_public).take(JOIN_THROUGH).collect()
}

/// Every tester marks everybody's chunks as paid on its own node: there is no chain.
async fn pay(held: &Held, call: &Perform, notes: &mut Notes) {
    let theirs = fellows(call).into_iter().flat_map(|(_, said)| said.chunks);
    let own = held.chunks.iter().map(Chunk::named);
    let keys: Vec<_> = theirs.chain(own).filter_map(|chunk| chunk.key()).collect();
    for key in &keys {
        held.node.prepay(*key);
    }
    notes.sample(
        "prepaid",
        &[],
        u32::try_from(keys.len()).unwrap_or(u32::MAX).into(),
    );
    // Whoever came first found nobody to join through.
    if held.node.p2p.peer_count().await == 0 {
        for address in public(call) {
            if let Err(error) = held.node.p2p.connect_peer(&MultiAddr::quic(address)).await {
                tracing::warn!("cannot join through {address}: {error}");
            }
        }
    }
}

/// There is no health endpoint: a node is healthy that runs, has peers, and brings a
/// chunk of its own to others and back.
async fn check(held: &Held, call: &Perform, notes: &mut Notes) {
    let p2p = &held.node.p2p;
    let (peers, known) = (
        p2p.peer_count().await,
        p2p.dht_manager().get_routing_table_size().await,
    );
    let fits = p2p.is_running() && p2p.health_check().await.is_ok() && peers > 0 && known > 0;
    let otherwise = || {
        format!(
            "running: {}, {peers} peers, {known} in the routing table",
            p2p.is_running()
        )
    };
    notes.trial("node_up", &[], fits.then_some(()).ok_or_else(otherwise));
    let limit = Duration::from_millis(call.timeout_ms.saturating_sub(1000));
    let began = Instant::now();
    for chunk in &held.chunks {
        if began.elapsed() >= limit {
            break;
        }
        let one = Instant::now();
        let (have, error) = store(&held.node, chunk, CLOSE_GROUP_SIZE).await;
        let went = match have.is_empty() {
            true => Err(error.unwrap_or_else(|| "nobody is known to store it with".into())),
            false => retrieve(&held.node, &chunk.named()).await,
        };
        if went.is_ok() {
            notes.sample("round_trip_ms", &[], millis_since(one));
        }
        notes.trial("healthy", &[], went);
    }
}

/// Stored means what it means to the stack's client: most of the close group has it.
async fn store_all(held: &Held, call: &Perform, notes: &mut Notes) -> Vec<Vec<PeerId>> {
    let copies = call.params["copies"]
        .as_u64()
        .and_then(|copies| usize::try_from(copies).ok());
    let copies = copies.unwrap_or(CLOSE_GROUP_SIZE);
    let stores = held.chunks.iter().map(|chunk| async {
        let began = Instant::now();
        let stored = store(&held.node, chunk, copies).await;
        (chunk.content.len(), began.elapsed(), stored)
    });
    let mut all = Vec::new();
    for (bytes, took, (have, error)) in each(stores, AT_ONCE).await {
        let size = bytes.to_string();
        let size = [("size", size.as_str())];
        let enough = have.len() >= copies.min(CLOSE_GROUP_MAJORITY);
        if enough {
            speed(notes, "store", &size, bytes, took);
        }
        notes.sample(
            "copies",
            &size,
            u32::try_from(have.len()).unwrap_or(u32::MAX).into(),
        );
        let otherwise = || {
            format!(
                "{} of {copies} took it: {}",
                have.len(),
                error.unwrap_or_default()
            )
        };
        notes.trial("stored", &size, enough.then_some(()).ok_or_else(otherwise));
        all.push(have);
    }
    all
}

fn speed(notes: &mut Notes, what: &str, size: &[(&str, &str)], bytes: usize, took: Duration) {
    notes.sample(&format!("{what}_ms"), size, took.as_secs_f64() * 1e3);
    let bits = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) * 8.0;
    notes.sample(
        &format!("{what}_mbit"),
        size,
        bits / took.as_secs_f64() / 1e6,
    );
}

/// What no node may take.
async fn refuse(held: &Held, notes: &mut Notes) {
    let unpaid = Chunk::random(1024);
    let (right, wrong) = (Chunk::random(1024), Chunk::random(1024));
    let oversize = Chunk::random(MAX_CHUNK_SIZE + 1);
    for (case, address, content) in [
        ("unpaid", unpaid.address, &unpaid.content),
        ("other content", right.address, &wrong.content),
        ("oversize", oversize.address, &oversize.content),
    ] {
        let near = closest(&held.node, &address, 1).await;
        let Some(to) = near.ok().and_then(|near| near.into_iter().next()) else {
            notes.trial(
                "refused",
                &[("case", case)],
                Err("nobody is known to ask".into()),
            );
            continue;
        };
        let went = match put(&held.node, &to, address, content).await {
            Ok(()) => Err(format!("{} took it", to.peer_id.short_hex())),
            // A node that does not answer has not refused.
            Err(why) if why.contains("answer within") || why.contains("reached") => Err(why),
            Err(_) => Ok(()),
        };
        notes.trial("refused", &[("case", case)], went);
    }
}

/// Everybody else's chunks, from everybody but this node.
async fn fetch(held: &Held, call: &Perform, notes: &mut Notes) {
    let phase = call.params["phase"].as_str().unwrap_or("stored");
    let wanted: Vec<Named> = fellows(call)
        .into_iter()
        .flat_map(|(_, said)| said.chunks)
        .collect();
    let fetches = wanted.iter().map(|chunk| async {
        let began = Instant::now();
        let went = retrieve(&held.node, chunk).await;
        (chunk.bytes, began.elapsed(), went)
    });
    for (bytes, took, went) in each(fetches, AT_ONCE).await {
        let size = bytes.to_string();
        let conditions = [("phase", phase), ("size", size.as_str())];
        if went.is_ok() {
            speed(notes, "retrieve", &conditions, bytes, took);
        }
        notes.trial("retrieved", &conditions, went);
    }
}

/// Chunks of which this node has to have a copy, and was given none.
fn owed(held: &Held, call: &Perform) -> Vec<Named> {
    let fellows = fellows(call);
    let own = held.node.peer();
    let mut peers: Vec<PeerId> = fellows
        .iter()
        .filter_map(|(_, said)| PeerId::from_hex(&said.peer).ok())
        .collect();
    peers.push(own);
    let mut owed = Vec::new();
    for (_, said) in &fellows {
        for (chunk, copies) in said.chunks.iter().zip(&said.copies) {
            let Some(key) = chunk.key() else { continue };
            let key = PeerId::from_bytes(key);
            peers.sort_by_key(|peer| peer.xor_distance(&key));
            let is_close = peers.iter().take(CLOSE_GROUP_SIZE).any(|peer| *peer == own);
            // Of a chunk that too few have, nobody need take the others' word.
            let is_known = copies.len() >= CLOSE_GROUP_MAJORITY;
            if is_close && is_known && !copies.contains(&own.to_hex()) {
                owed.push(chunk.clone());
            }
        }
    }
    owed
}

/// Until the copies that this node owes have come by themselves.
async fn sync(held: &Held, call: &Perform, notes: &mut Notes) {
    let owed = owed(held, call);
    let limit = Duration::from_millis(call.timeout_ms.saturating_sub(1500));
    let began = Instant::now();
    let mut missing: Vec<Named> = owed;
    while !missing.is_empty() && began.elapsed() < limit {
        held.node.sync_now().await;
        tokio::time::sleep(POLL).await;
        missing.retain(|chunk| {
            let has = chunk.key().is_some_and(|key| held.node.holds(&key));
            if has {
                notes.sample("sync_ms", &[], millis_since(began));
                notes.trial("synced", &[], Ok(()));
            }
            !has
        });
    }
    for chunk in missing {
        let why = format!("{} is not here after {limit:?}", chunk.address);
        notes.trial("synced", &[], Err(why));
    }
}
