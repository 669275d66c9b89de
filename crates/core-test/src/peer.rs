//! One saorsa-core peer that answers whoever asks it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::protocol::{Failure, Reason};
use saorsa_core::identity::node_identity::NodeIdentity;
use saorsa_core::{IPDiversityConfig, MultiAddr, NodeConfig, P2PEvent, P2PNode, PeerId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

const PROTOCOL: &str = "vps-test";
const TOPIC: &str = "/rr/vps-test";
/// For one dial. The stack's own default, 25 s, is as long as a step.
const DIAL: Duration = Duration::from_secs(10);

/// How often each request came, by its digest.
type Heard = Arc<Mutex<HashMap<String, u32>>>;

pub struct Peer {
    pub node: Arc<P2PNode>,
    pub identity: Arc<NodeIdentity>,
    heard: Heard,
    answering: JoinHandle<()>,
}

/// What a peer says of a request: what came, and how it thinks it came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub sha256: String,
    pub bytes: usize,
    /// The transport address that it came from.
    pub source: Option<SocketAddr>,
    /// The stack's class of that address.
    pub route: String,
}

impl Peer {
    /// A peer on this port that has tried all bootstrap peers; without an identity it
    /// gets a fresh one.
    ///
    /// The stack binds all addresses of the host. Without the permissive diversity it
    /// would admit two peers an address, and a twin's hosts and their coordinators are
    /// more than that after a few rounds.
    ///
    /// # Errors
    /// [`Reason::Infrastructure`] where somebody has the port.
    pub async fn start(
        bind: SocketAddr,
        bootstrap: &[SocketAddr],
        identity: Option<Arc<NodeIdentity>>,
    ) -> Result<Self, Failure> {
        if !is_free(bind) {
            return Err(Failure::new(
                Reason::Infrastructure,
                format!("{bind} is taken"),
            ));
        }
        let stack = |error: &dyn std::fmt::Display| Failure::new(Reason::Stack, error.to_string());
        let identity = match identity {
            Some(identity) => identity,
            None => Arc::new(NodeIdentity::generate().map_err(|error| stack(&error))?),
        };
        let mut config = NodeConfig::builder()
            .port(bind.port())
            .ipv6(false)
            .local(bind.ip().is_loopback())
            .connection_timeout(DIAL)
            .build()
            .map_err(|error| stack(&error))?;
        config.bootstrap_peers = bootstrap.iter().copied().map(MultiAddr::quic).collect();
        config.diversity_config = Some(IPDiversityConfig::permissive());
        config.node_identity = Some(Arc::clone(&identity));
        let node = P2PNode::new(config).await.map_err(|error| stack(&error))?;
        let node = Arc::new(node);
        let heard = Heard::default();
        let answering = tokio::spawn(answer(Arc::clone(&node), Arc::clone(&heard)));
        let peer = Self {
            node,
            identity,
            heard,
            answering,
        };
        peer.node.start().await.map_err(|error| stack(&error))?;
        Ok(peer)
    }

    /// Sends bytes and holds the answer against them.
    pub async fn ask(
        &self,
        peer: &PeerId,
        data: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer, String> {
        let (sha256, bytes) = (digest(&data), data.len());
        let response = self.node.send_request(peer, PROTOCOL, data, limit).await;
        let response = response.map_err(|error| error.to_string())?;
        if response.peer_id != *peer {
            return Err(format!("{} answered instead", response.peer_id.short_hex()));
        }
        let answer: Answer = serde_json::from_slice(&response.data)
            .map_err(|error| format!("the answer is not what was sent: {error}"))?;
        if (&answer.sha256, answer.bytes) != (&sha256, bytes) {
            return Err(format!(
                "of {bytes} bytes, {} came, with another digest",
                answer.bytes
            ));
        }
        Ok(answer)
    }

    /// Dials an address and returns who authenticated there.
    pub async fn dial(&self, address: &MultiAddr, limit: Duration) -> Result<PeerId, String> {
        let dialled = async {
            let channel = self.node.connect_peer(address).await?;
            self.node.wait_for_peer_identity(&channel, limit).await
        };
        match tokio::time::timeout(limit, dialled).await {
            Ok(who) => who.map_err(|error| format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: no connection within {limit:?}")),
        }
    }

    /// How often a request with these bytes came here.
    pub fn heard(&self, data: &[u8]) -> u32 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(&digest(data)).copied().unwrap_or(0)
    }

    pub async fn stop(&self) -> Result<(), String> {
        let stopped = self.node.stop().await.map_err(|error| error.to_string());
        self.answering.abort();
        stopped
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn answer(node: Arc<P2PNode>, heard: Heard) {
    let mut events = node.subscribe_events();
    loop {
        match events.recv().await {
            Ok(P2PEvent::Message {
                topic,
                source: Some(from),
                transport_source,
                data,
                ..
            }) if topic == TOPIC => {
                let (node, heard) = (Arc::clone(&node), Arc::clone(&heard));
                // One slow answer must not hold up the others.
                tokio::spawn(async move {
                    answer_one(&node, &heard, from, transport_source, &data).await;
                });
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => tracing::warn!("{missed} events were missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn answer_one(
    node: &P2PNode,
    heard: &Heard,
    from: PeerId,
    transport: Option<MultiAddr>,
    data: &[u8],
) {
    let Some((id, false, payload)) = P2PNode::parse_request_envelope(data) else {
        return;
    };
    let sha256 = digest(&payload);
    *heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(sha256.clone())
        .or_default() += 1;
    let route = node
        .classify_peer_transport_route(&from, transport.as_ref())
        .await;
    let answer = Answer {
        sha256,
        bytes: payload.len(),
        source: transport.and_then(|address| address.socket_addr()),
        route: route.to_string(),
    };
    let text = serde_json::to_vec(&answer).unwrap_or_default();
    if let Err(error) = node.send_response(&from, PROTOCOL, &id, text).await {
        tracing::warn!("cannot answer {}: {error}", from.short_hex());
    }
}

/// A port that nobody has, bound and let go.
pub fn free_port(host: IpAddr) -> std::io::Result<SocketAddr> {
    std::net::UdpSocket::bind(SocketAddr::new(host, 0))?.local_addr()
}

/// Whether nobody has this port.
pub fn is_free(bind: SocketAddr) -> bool {
    std::net::UdpSocket::bind(bind).is_ok()
}

pub fn digest(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

/// Bytes that no other request has.
pub fn random_bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut bytes);
    bytes
}
