//! Chunks over the network: stored with those who are closest, asked for by hash.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, FuturesUnordered, StreamExt as _};
use saorsa_core::{MultiAddr, PeerId};
use saorsa_node::client::send_and_await_chunk_response;
use saorsa_node::{
    ChunkGetRequest, ChunkGetResponse, ChunkMessage, ChunkMessageBody, ChunkPutRequest,
    ChunkPutResponse, compute_address,
};
use serde::{Deserialize, Serialize};

use crate::node::Node;

/// Nodes that a chunk is stored with: as many as the stack has a client take quotes of
/// (`REQUIRED_QUOTES`). It has no client of its own.
pub const COPIES: usize = 5;
/// Of these, without which a chunk is not stored.
pub const ENOUGH: usize = 3;
/// Nodes that are asked for a chunk at all, and at once, so that a dead one costs no time.
const ASKED: usize = 8;
const ASKED_AT_ONCE: usize = 5;
/// A lookup dials whoever it hears of, and waits for those behind NATs one after the other.
const LOOKUP: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(8);
/// The stack bounds the answer, not the dial before it.
const REACH_AND_ANSWER: Duration = Duration::from_secs(10);
/// For the rest of the closest, once enough have a chunk.
const REST: Duration = Duration::from_secs(1);

/// What everybody knows of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// BLAKE3 of the content, as hex.
    pub address: String,
    pub bytes: usize,
}

impl Named {
    pub fn key(&self) -> Option<[u8; 32]> {
        hex::decode(&self.address).ok()?.try_into().ok()
    }
}

#[derive(Debug)]
pub struct Chunk {
    pub address: [u8; 32],
    pub content: Vec<u8>,
}

impl Chunk {
    /// Bytes that no other chunk has.
    pub fn random(bytes: usize) -> Self {
        let mut content = vec![0; bytes];
        rand::RngCore::fill_bytes(&mut rand::rng(), &mut content);
        Self {
            address: compute_address(&content),
            content,
        }
    }

    pub fn named(&self) -> Named {
        Named {
            address: hex::encode(self.address),
            bytes: self.content.len(),
        }
    }
}

/// Another node, as a lookup names it.
pub struct Other {
    pub peer: PeerId,
    addresses: Vec<MultiAddr>,
}

/// By the network's own lookup, without this node.
pub async fn closest(node: &Node, key: &[u8; 32], count: usize) -> Result<Vec<Other>, String> {
    let found = node.p2p.dht_manager().find_closest_nodes(key, count + 1);
    let found = match tokio::time::timeout(LOOKUP, found).await {
        Ok(found) => found.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no lookup within {LOOKUP:?}")),
    };
    let others = found
        .into_iter()
        .filter(|other| other.peer_id != node.peer())
        .map(|other| Other {
            peer: other.peer_id,
            addresses: other.addresses,
        });
    Ok(others.take(count).collect())
}

/// What became of storing a chunk.
pub struct Stored {
    /// Who has acknowledged it.
    pub have: Vec<PeerId>,
    /// Why the first of the others has not.
    pub error: Option<String>,
}

impl Stored {
    pub fn outcome(&self) -> Result<(), String> {
        if self.have.len() >= ENOUGH {
            return Ok(());
        }
        let error = self.error.as_deref().unwrap_or("nobody else is known");
        Err(format!("{} of {COPIES} took it: {error}", self.have.len()))
    }
}

/// Sends a chunk to the closest nodes, to all of them at once. Nobody waits long for the
/// rest when enough have it.
pub async fn store(node: &Node, chunk: &Chunk) -> Stored {
    let (mut have, mut error) = (Vec::new(), None);
    let closest = match closest(node, &chunk.address, COPIES).await {
        Ok(closest) => closest,
        Err(why) => {
            let error = Some(why);
            return Stored { have, error };
        }
    };
    let puts = closest.iter().map(|to| async move {
        let put = put(node, to, chunk.address, &chunk.content).await;
        (to.peer, put)
    });
    let mut puts: FuturesUnordered<_> = puts.collect();
    loop {
        let wait = if have.len() < ENOUGH {
            REACH_AND_ANSWER
        } else {
            REST
        };
        let Ok(Some((peer, answer))) = tokio::time::timeout(wait, puts.next()).await else {
            return Stored { have, error };
        };
        let why = match answer {
            Ok(
                ChunkPutResponse::Success { address } | ChunkPutResponse::AlreadyExists { address },
            ) if address == chunk.address => {
                have.push(peer);
                continue;
            }
            Ok(other) => format!("{}: {other:?}", peer.short_hex()),
            Err(why) => why,
        };
        error.get_or_insert(why);
    }
}

/// Asks the others who are closest, a few at a time, until one has the right bytes.
pub async fn retrieve(node: &Node, chunk: &Named) -> Result<(), String> {
    let key = chunk.key().ok_or("the address is no hash")?;
    let closest = closest(node, &key, ASKED).await?;
    let asked = closest.len();
    let gets: Vec<_> = closest.iter().map(|from| get(node, from, key)).collect();
    let mut answers = stream::iter(gets).buffer_unordered(ASKED_AT_ONCE);
    let mut error = None;
    while let Some(answer) = answers.next().await {
        let why = match answer {
            Ok(ChunkGetResponse::Success { content, .. }) => match is(&content, chunk, &key) {
                Ok(()) => return Ok(()),
                Err(why) => why,
            },
            // Somebody else has it, unless nobody does.
            Ok(ChunkGetResponse::NotFound { .. }) => continue,
            Ok(other) => format!("{other:?}"),
            Err(why) => why,
        };
        error.get_or_insert(why);
    }
    let error = error.unwrap_or_else(|| "all of them say so".into());
    Err(format!("none of {asked} nodes has it: {error}"))
}

/// Whether these bytes are the chunk.
fn is(content: &[u8], chunk: &Named, key: &[u8; 32]) -> Result<(), String> {
    if content.len() == chunk.bytes && compute_address(content) == *key {
        return Ok(());
    }
    Err(format!("{} other bytes came", content.len()))
}

/// One node is asked to store something, whatever it is.
pub async fn put(
    node: &Node,
    to: &Other,
    address: [u8; 32],
    content: &[u8],
) -> Result<ChunkPutResponse, String> {
    let request = ChunkPutRequest::new(address, content.to_vec());
    let request = ChunkMessageBody::PutRequest(request);
    ask(node, to, request, |body| match body {
        ChunkMessageBody::PutResponse(answer) => Some(answer),
        _ => None,
    })
    .await
}

async fn get(node: &Node, from: &Other, address: [u8; 32]) -> Result<ChunkGetResponse, String> {
    let request = ChunkMessageBody::GetRequest(ChunkGetRequest::new(address));
    ask(node, from, request, |body| match body {
        ChunkMessageBody::GetResponse(answer) => Some(answer),
        _ => None,
    })
    .await
}

async fn ask<T>(
    node: &Node,
    to: &Other,
    body: ChunkMessageBody,
    read: impl Fn(ChunkMessageBody) -> Option<T>,
) -> Result<T, String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let request_id = NEXT.fetch_add(1, Ordering::Relaxed);
    let message = ChunkMessage { request_id, body };
    let message = message.encode().map_err(|error| error.to_string())?;
    let who = to.peer.short_hex();
    let asked = send_and_await_chunk_response(
        &node.p2p,
        &to.peer,
        message,
        request_id,
        ANSWER,
        &to.addresses,
        |body| read(body).map(Ok),
        |error| format!("{who} cannot be reached: {error}"),
        || format!("{who} did not answer within {ANSWER:?}"),
    );
    match tokio::time::timeout(REACH_AND_ANSWER, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("{who} was not reached within {REACH_AND_ANSWER:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_another_chunk() {
        let chunk = Chunk::random(1024);
        let named = chunk.named();
        assert_eq!(is(&chunk.content, &named, &chunk.address), Ok(()));
        let mut damaged = chunk.content;
        damaged[512] ^= 1;
        assert!(is(&damaged, &named, &chunk.address).is_err());
    }
}
