//! Chunks over the network: stored with those who are closest, asked for by hash.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ant_node::{
    CLOSE_GROUP_SIZE, ChunkGetRequest, ChunkGetResponse, ChunkMessage, ChunkMessageBody,
    ChunkPutRequest, ChunkPutResponse, compute_address,
};
use ant_protocol::send_and_await_chunk_response;
use futures::stream::{self, StreamExt as _};
use saorsa_core::{DHTNode, PeerId};
use serde::{Deserialize, Serialize};

use crate::node::Node;

const ANSWER: Duration = Duration::from_secs(10);
/// Nodes asked at once for one chunk, so that a dead one costs no time.
const ASKED_AT_ONCE: usize = 3;
/// Nodes asked at all.
const ASKED: usize = CLOSE_GROUP_SIZE + 2;

/// What is known of a chunk by everybody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Named {
    /// BLAKE3 of the content, as hex.
    pub address: String,
    pub bytes: usize,
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

impl Named {
    pub fn key(&self) -> Option<[u8; 32]> {
        hex::decode(&self.address).ok()?.try_into().ok()
    }
}

/// Sends a chunk to the `copies` closest nodes at once. The peers that have it then, and
/// why the first of the others does not.
pub async fn store(node: &Node, chunk: &Chunk, copies: usize) -> (Vec<PeerId>, Option<String>) {
    let closest = match closest(node, &chunk.address, copies).await {
        Ok(closest) => closest,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let puts = closest.iter().map(|to| async move {
        let put = put(node, to, chunk.address, &chunk.content).await;
        (to.peer_id, put)
    });
    let (mut have, mut error) = (Vec::new(), None);
    for (peer, put) in futures::future::join_all(puts).await {
        match put {
            Ok(()) => have.push(peer),
            Err(why) => error = error.or(Some(format!("{}: {why}", peer.short_hex()))),
        }
    }
    (have, error)
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
        match answer {
            Ok(content) if compute_address(&content) == key && content.len() == chunk.bytes => {
                return Ok(());
            }
            Ok(content) => {
                error = error.or(Some(format!("{} other bytes came", content.len())));
            }
            Err(why) => error = error.or(Some(why)),
        }
    }
    Err(format!(
        "none of {asked} nodes has it: {}",
        error.unwrap_or_else(|| "nobody is known".into())
    ))
}

/// By the network's own lookup, without this node.
pub async fn closest(node: &Node, key: &[u8; 32], count: usize) -> Result<Vec<DHTNode>, String> {
    let found = node.p2p.dht_manager().find_closest_nodes(key, count + 1);
    let found = found.await.map_err(|error| error.to_string())?;
    let others = found
        .into_iter()
        .filter(|other| other.peer_id != node.peer());
    Ok(others.take(count).collect())
}

/// One node is asked to store something, whatever it is.
pub async fn put(
    node: &Node,
    to: &DHTNode,
    address: [u8; 32],
    content: &[u8],
) -> Result<(), String> {
    let request = ChunkPutRequest::new(address, content.to_vec().into());
    ask(
        node,
        to,
        ChunkMessageBody::PutRequest(request),
        |body| match body {
            ChunkMessageBody::PutResponse(
                ChunkPutResponse::Success { .. } | ChunkPutResponse::AlreadyExists { .. },
            ) => Some(Ok(())),
            ChunkMessageBody::PutResponse(other) => Some(Err(format!("{other:?}"))),
            _ => None,
        },
    )
    .await
}

async fn get(node: &Node, from: &DHTNode, address: [u8; 32]) -> Result<Vec<u8>, String> {
    let request = ChunkGetRequest::new(address);
    ask(
        node,
        from,
        ChunkMessageBody::GetRequest(request),
        |body| match body {
            ChunkMessageBody::GetResponse(ChunkGetResponse::Success { content, .. }) => {
                Some(Ok(content))
            }
            ChunkMessageBody::GetResponse(ChunkGetResponse::NotFound { .. }) => {
                Some(Err("it is not there".into()))
            }
            ChunkMessageBody::GetResponse(other) => Some(Err(format!("{other:?}"))),
            _ => None,
        },
    )
    .await
}

async fn ask<T>(
    node: &Node,
    to: &DHTNode,
    body: ChunkMessageBody,
    read: impl Fn(ChunkMessageBody) -> Option<Result<T, String>>,
) -> Result<T, String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let request_id = NEXT.fetch_add(1, Ordering::Relaxed);
    let message = ChunkMessage { request_id, body };
    let message = message.encode().map_err(|error| error.to_string())?;
    let who = to.peer_id.short_hex();
    let asked = send_and_await_chunk_response(
        &node.p2p,
        &to.peer_id,
        message,
        request_id,
        ANSWER,
        &to.addresses,
        read,
        |error| format!("{who} cannot be reached: {error}"),
        || format!("{who} did not answer within {ANSWER:?}"),
    );
    // The stack bounds the answer, not the dial before it.
    match tokio::time::timeout(ANSWER * 2, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("{who} was not reached within {:?}", ANSWER * 2)),
    }
}

/// All of these in their order, this many at once.
pub async fn each<T, F>(all: impl IntoIterator<Item = F>, at_once: usize) -> Vec<T>
where
    F: Future<Output = T>,
{
    let all: Vec<F> = all.into_iter().collect();
    stream::iter(all).buffered(at_once).collect().await
}
