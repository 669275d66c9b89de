//! One real node: transport, chunk store and payment, put together as the stack's own
//! `devnet` does it. Its `RunningNode` keeps the parts that test mode needs to itself.
//!
//! It looks for no newer release and asks no chain: a request comes without a proof of
//! payment, so that whatever is not marked as paid is refused on the spot.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evmlib::common::Address;
use model::protocol::{Failure, Reason};
use saorsa_core::identity::node_identity::NodeIdentity;
use saorsa_core::{IPDiversityConfig, NodeConfig, P2PEvent, P2PNode, PeerId};
use saorsa_node::ant_protocol::MAX_WIRE_MESSAGE_SIZE;
use saorsa_node::config::NODE_IDENTITY_FILENAME;
use saorsa_node::payment::{
    EvmVerifierConfig, PaymentVerifier, PaymentVerifierConfig, QuoteGenerator,
    QuotingMetricsTracker, wire_ml_dsa_signer,
};
use saorsa_node::{
    AntProtocol, CHUNK_PROTOCOL_ID, LmdbStorage, LmdbStorageConfig, compute_address,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

/// For one dial. The stack's own default is as long as a step.
const DIAL: Duration = Duration::from_secs(5);
/// What the stack's devnet has.
const PAID_AT_MOST: usize = 1000;
const RECORDS_AT_MOST: usize = 100_000;
const REWARDS: [u8; 20] = [1; 20];

pub struct Node {
    pub p2p: Arc<P2PNode>,
    protocol: Arc<AntProtocol>,
    serving: JoinHandle<()>,
}

impl Node {
    /// A node on what this directory holds: identity and chunks of an earlier one, or a
    /// fresh identity and nothing. It knows nobody yet.
    ///
    /// # Errors
    /// [`Reason::Infrastructure`] where somebody has the port.
    pub async fn start(bind: SocketAddr, root: &Path) -> Result<Self, Failure> {
        if std::net::UdpSocket::bind(bind).is_err() {
            return Err(Failure::new(
                Reason::Infrastructure,
                format!("{bind} is taken"),
            ));
        }
        Self::assemble(bind, root)
            .await
            .map_err(|error| Failure::new(Reason::Stack, error))
    }

    async fn assemble(bind: SocketAddr, root: &Path) -> Result<Self, String> {
        let identity = Arc::new(identity(root).await?);
        let protocol = Arc::new(protocol(root, &identity).await?);
        let p2p = P2PNode::new(core_config(bind, identity)?).await;
        let p2p = Arc::new(p2p.map_err(say)?);
        p2p.start().await.map_err(say)?;
        let serving = tokio::spawn(serve(Arc::clone(&p2p), Arc::clone(&protocol)));
        Ok(Self {
            p2p,
            protocol,
            serving,
        })
    }

    pub fn peer(&self) -> PeerId {
        *self.p2p.peer_id()
    }

    /// Marks a chunk as paid, as test mode allows (feature `test-utils`).
    pub fn prepay(&self, address: [u8; 32]) {
        self.protocol.payment_verifier().cache_insert(address);
    }

    pub fn holds(&self, address: &[u8; 32]) -> bool {
        self.protocol.exists(address).unwrap_or(false)
    }

    /// That the bytes in its own store have this hash.
    pub async fn check_held(&self, address: &[u8; 32]) -> Result<(), String> {
        match self.protocol.get_local(address).await {
            Ok(Some(content)) if compute_address(&content) == *address => Ok(()),
            Ok(Some(content)) => Err(format!("{} other bytes are there", content.len())),
            Ok(None) => Err("it is not there".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// In good order: the store may be opened again afterwards.
    pub async fn stop(&self) -> Result<(), String> {
        self.serving.abort();
        self.p2p.stop().await.map_err(say)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Without the permissive diversity one address may have two nodes of a network, as
/// the stack's devnet knows as well.
fn core_config(bind: SocketAddr, identity: Arc<NodeIdentity>) -> Result<NodeConfig, String> {
    let mut config = NodeConfig::builder()
        .port(bind.port())
        .ipv6(false)
        .local(bind.ip().is_loopback())
        .connection_timeout(DIAL)
        .max_message_size(MAX_WIRE_MESSAGE_SIZE)
        .build()
        .map_err(say)?;
    config.diversity_config = Some(IPDiversityConfig::permissive());
    config.node_identity = Some(identity);
    Ok(config)
}

async fn identity(root: &Path) -> Result<NodeIdentity, String> {
    let file = root.join(NODE_IDENTITY_FILENAME);
    if file.exists() {
        return NodeIdentity::load_from_file(&file).await.map_err(say);
    }
    std::fs::create_dir_all(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let identity = NodeIdentity::generate().map_err(say)?;
    identity.save_to_file(&file).await.map_err(say)?;
    Ok(identity)
}

async fn protocol(root: &Path, identity: &NodeIdentity) -> Result<AntProtocol, String> {
    let store = LmdbStorage::new(LmdbStorageConfig {
        root_dir: PathBuf::from(root),
        verify_on_read: true,
        max_chunks: 0,
        max_map_size: 0,
    });
    let store = store.await.map_err(say)?;
    let rewards = Address::new(REWARDS);
    let verifier = PaymentVerifier::new(PaymentVerifierConfig {
        evm: EvmVerifierConfig::default(),
        cache_capacity: PAID_AT_MOST,
        local_rewards_address: rewards,
    });
    let mut quotes = QuoteGenerator::new(rewards, QuotingMetricsTracker::new(RECORDS_AT_MOST, 0));
    wire_ml_dsa_signer(&mut quotes, identity).map_err(say)?;
    Ok(AntProtocol::new(
        Arc::new(store),
        Arc::new(verifier),
        Arc::new(quotes),
    ))
}

/// The stack keeps this loop to itself; it is the same here.
async fn serve(p2p: Arc<P2PNode>, protocol: Arc<AntProtocol>) {
    let mut events = p2p.subscribe_events();
    loop {
        let (source, data) = match events.recv().await {
            Ok(P2PEvent::Message {
                topic,
                source: Some(source),
                data,
            }) if topic == CHUNK_PROTOCOL_ID => (source, data),
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!("{missed} events were missed");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let (p2p, protocol) = (Arc::clone(&p2p), Arc::clone(&protocol));
        tokio::spawn(async move {
            let answered = match protocol.handle_message(&data).await {
                Ok(answer) => {
                    let answer = answer.to_vec();
                    let sent = p2p.send_message(&source, CHUNK_PROTOCOL_ID, answer, &[]);
                    sent.await.map_err(say)
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = answered {
                tracing::warn!("no answer to {}: {error}", source.short_hex());
            }
        });
    }
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}
