//! What a node is and knows: whether it is healthy, whom it knows, whom it finds.

use std::time::Instant;

use agent::{Notes, millis_since};
use model::protocol::Perform;
use saorsa_core::PeerId;

use super::{Held, POLL, each, limit_of, truly_closest, until, within};
use crate::chunks::{self, COPIES, ENOUGH};

/// There is no health endpoint: a node is healthy that runs, has peers, and brings
/// chunks of its own to others and back.
pub async fn check(held: &Held, call: &Perform, notes: &mut Notes) {
    let until = until(Instant::now(), call);
    notes.trial("node_up", &[], up(held).await);
    let trips = held.chunks.iter().map(|chunk| async move {
        let began = Instant::now();
        let went = within(until, async {
            chunks::store(&held.node, chunk).await.outcome()?;
            chunks::retrieve(&held.node, &chunk.named()).await
        });
        (went.await.flatten(), millis_since(began))
    });
    for (went, took) in each(trips).await {
        if went.is_ok() {
            notes.sample("round_trip_ms", &[], took);
        }
        notes.trial("healthy", &[], went);
    }
}

async fn up(held: &Held) -> Result<(), String> {
    let p2p = &held.node.p2p;
    p2p.health_check()
        .await
        .map_err(|error| format!("health_check: {error}"))?;
    let peers = p2p.peer_count().await;
    let known = p2p.dht_manager().get_routing_table_size().await;
    if p2p.is_running() && peers > 0 && known >= ENOUGH {
        return Ok(());
    }
    let running = p2p.is_running();
    Err(format!(
        "running: {running}, {peers} peers, {known} in the routing table"
    ))
}

/// Until everybody who runs is in this node's routing table.
pub async fn known(held: &Held, call: &Perform, notes: &mut Notes) {
    let phase = call.params["phase"].as_str().unwrap_or("joined");
    let conditions = [("phase", phase)];
    let began = Instant::now();
    let mut missing: Vec<_> = held.running(call).collect();
    loop {
        let mut still = Vec::new();
        for (node, said) in missing {
            let dht = held.node.p2p.dht_manager();
            let is_known = match PeerId::from_hex(&said.peer) {
                Ok(peer) => dht.is_in_routing_table(&peer).await,
                Err(_) => false,
            };
            if is_known {
                notes.sample("known_ms", &conditions, millis_since(began));
                notes.trial("known", &conditions, Ok(()));
            } else {
                still.push((node, said));
            }
        }
        missing = still;
        if missing.is_empty() || began.elapsed() >= limit_of(call) {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    for (node, _) in missing {
        let why = format!("{node} is not in the routing table");
        notes.trial::<()>("known", &conditions, Err(why));
    }
}

/// The network's answer to who is closest, beside who is by everybody's id.
pub async fn closest(held: &Held, call: &Perform, notes: &mut Notes) {
    let until = until(Instant::now(), call);
    let keys = held.own.chunks.iter().filter_map(|chunk| chunk.key());
    let lookups = keys.map(|key| async move {
        let began = Instant::now();
        let found = within(until, chunks::closest(&held.node, &key, COPIES)).await;
        (key, found.flatten(), millis_since(began))
    });
    for (key, found, took) in each(lookups).await {
        let others = held.others.values().map(|said| &said.peer);
        let wanted = truly_closest(key, others, COPIES);
        let went = found.and_then(|found| {
            let found: Vec<_> = found.iter().map(|other| other.peer).collect();
            let hits = wanted.iter().filter(|peer| found.contains(peer)).count();
            let otherwise = || format!("{hits} of the {} closest are named", wanted.len());
            (hits == wanted.len()).then_some(()).ok_or_else(otherwise)
        });
        if went.is_ok() {
            notes.sample("lookup_ms", &[], took);
        }
        notes.trial("closest_found", &[], went);
    }
}
