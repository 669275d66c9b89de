//! Chunks that come and go: stored, kept, refused, had, brought up to date.

use std::time::{Duration, Instant};

use agent::{Notes, millis_since};
use model::protocol::Perform;
use saorsa_core::PeerId;
use saorsa_node::ant_protocol::ProtocolError;
use saorsa_node::{ChunkPutResponse, MAX_CHUNK_SIZE};

use super::{Held, POLL, count, each, limit_of, truly_closest, until, within};
use crate::chunks::{self, COPIES, Chunk, ENOUGH, Named, Stored};

type Conditions<'a> = &'a [(&'a str, &'a str)];

/// One after the other.
pub async fn store(held: &mut Held, call: &Perform, notes: &mut Notes) {
    let until = until(Instant::now(), call);
    for (place, chunk) in held.chunks.iter().enumerate() {
        let bytes = chunk.content.len();
        let began = Instant::now();
        let stored = within(until, chunks::store(&held.node, chunk)).await;
        let took = began.elapsed();
        let size = bytes.to_string();
        let size = [("size", size.as_str())];
        let stored = stored.unwrap_or_else(|why| Stored {
            have: Vec::new(),
            error: Some(why),
        });
        let went = stored.outcome();
        if went.is_ok() {
            speed(notes, "store", &size, bytes, took);
        }
        notes.trial("stored", &size, went);
        notes.sample("copies", &size, count(stored.have.len()));
        held.own.copies[place] = stored.have.iter().map(PeerId::to_hex).collect();
    }
}

fn speed(notes: &mut Notes, what: &str, conditions: Conditions<'_>, bytes: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    notes.sample(&format!("{what}_ms"), conditions, seconds * 1e3);
    let mbit = count(bytes) * 8.0 / 1e6;
    notes.sample(&format!("{what}_mbit"), conditions, mbit / seconds);
}

/// Whether this node has in its own store what it told others that it has.
pub async fn keep(held: &Held, call: &Perform, notes: &mut Notes) {
    let phase = call.params["phase"].as_str().unwrap_or("stored");
    let own = held.node.peer().to_hex();
    for said in held.others.values() {
        for (chunk, copies) in said.chunks.iter().zip(&said.copies) {
            let Some(key) = chunk.key().filter(|_| copies.contains(&own)) else {
                continue;
            };
            let size = chunk.bytes.to_string();
            let conditions = [("phase", phase), ("size", size.as_str())];
            notes.trial("kept", &conditions, held.node.check_held(&key).await);
        }
    }
}

/// What no node may take, and what it has to say then.
pub async fn refuse(held: &Held, call: &Perform, notes: &mut Notes) {
    let until = until(Instant::now(), call);
    let (unpaid, oversize) = (Chunk::random(1024), Chunk::random(MAX_CHUNK_SIZE + 1));
    let mut other_content = Chunk::random(1024);
    other_content.content[512] ^= 1;
    for (case, chunk) in [
        ("unpaid", unpaid),
        ("other content", other_content),
        ("oversize", oversize),
    ] {
        let went = within(until, offer(held, case, &chunk)).await.flatten();
        notes.trial("refused", &[("case", case)], went);
    }
}

async fn offer(held: &Held, case: &str, chunk: &Chunk) -> Result<(), String> {
    let near = chunks::closest(&held.node, &chunk.address, COPIES).await?;
    let mut answer = Err("nobody is known to ask".to_owned());
    let mut who = String::new();
    for to in &near {
        who = to.peer.short_hex();
        answer = chunks::put(&held.node, to, chunk.address, &chunk.content).await;
        if answer.is_ok() {
            break;
        }
    }
    let answer = answer?;
    match (case, &answer) {
        ("unpaid", ChunkPutResponse::PaymentRequired { .. })
        | ("unpaid", ChunkPutResponse::Error(ProtocolError::PaymentFailed(_)))
        | ("other content", ChunkPutResponse::Error(ProtocolError::AddressMismatch { .. }))
        | ("oversize", ChunkPutResponse::Error(ProtocolError::ChunkTooLarge { .. })) => Ok(()),
        _ => Err(format!("{who} says {answer:?}")),
    }
}

/// Everybody else's chunks, from everybody but this node.
pub async fn fetch(held: &Held, call: &Perform, notes: &mut Notes) {
    let phase = call.params["phase"].as_str().unwrap_or("stored");
    let until = until(Instant::now(), call);
    let node = &held.node;
    let wanted = held.others.values().flat_map(|said| &said.chunks);
    let fetches = wanted.map(|chunk| async move {
        let began = Instant::now();
        let went = within(until, chunks::retrieve(node, chunk)).await.flatten();
        (chunk.bytes, began.elapsed(), went)
    });
    for (bytes, took, went) in each(fetches).await {
        let size = bytes.to_string();
        let conditions = [("phase", phase), ("size", size.as_str())];
        if went.is_ok() {
            speed(notes, "retrieve", &conditions, bytes, took);
        }
        notes.trial("retrieved", &conditions, went);
    }
}

/// Until the copies that this node ought to have, and was given none of, have come by
/// themselves.
pub async fn sync(held: &Held, call: &Perform, notes: &mut Notes) {
    let began = Instant::now();
    let mut missing = owed(held);
    loop {
        missing.retain(|chunk| {
            let is_here = chunk.key().is_some_and(|key| held.node.holds(&key));
            if is_here {
                notes.sample("synced_ms", &[], millis_since(began));
                notes.trial("synced", &[], Ok(()));
            }
            !is_here
        });
        if missing.is_empty() || began.elapsed() >= limit_of(call) {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    for chunk in missing {
        let why = format!("{} is not here after {:?}", chunk.address, limit_of(call));
        notes.trial::<()>("synced", &[], Err(why));
    }
}

/// Of each node's chunks, those that have enough copies, for which this node is among
/// the closest, and of which it was given none. Nobody stores with himself.
fn owed(held: &Held) -> Vec<Named> {
    let own = held.node.peer();
    let mut owed = Vec::new();
    for (storing, said) in &held.others {
        let others = held.others.iter().filter(|(node, _)| *node != storing);
        let peers: Vec<_> = others
            .map(|(_, said)| &said.peer)
            .chain([&held.own.peer])
            .collect();
        for (chunk, copies) in said.chunks.iter().zip(&said.copies) {
            let Some(key) = chunk.key() else { continue };
            let closest = truly_closest(key, peers.iter().copied(), COPIES);
            let has = copies.contains(&own.to_hex());
            if closest.contains(&own) && copies.len() >= ENOUGH && !has {
                owed.push(chunk.clone());
            }
        }
    }
    owed
}
