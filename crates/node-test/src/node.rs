//! One real node: transport, chunk store, payment, replication, as the stack's own
//! `NodeBuilder` puts them together, but for what a test host must not do.
//!
//! It never looks for newer releases and never asks a chain: its network is one whose
//! RPC address nobody answers, so that whatever is not marked as paid is refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ant_node::payment::{
    EvmVerifierConfig, PaymentVerifier, PaymentVerifierConfig, PriceFloorConfig, QuoteGenerator,
    QuotingMetricsTracker, wire_ml_dsa_signer,
};
use ant_node::storage::{AntProtocol, ChunkStore, ChunkStoreConfig};
use ant_node::{CHUNK_PROTOCOL_ID, ReplicationConfig, ReplicationEngine};
use evmlib::{CustomNetwork, Network, RewardsAddress};
use model::protocol::{Failure, Reason};
use saorsa_core::identity::NodeIdentity;
use saorsa_core::{IPDiversityConfig, MultiAddr, NodeConfig, P2PEvent, P2PNode, PeerId};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// For one dial; the stack's own default is as long as a step.
const DIAL: Duration = Duration::from_secs(10);
/// A chunk and what is around it.
const MESSAGE: usize = 10 * 1024 * 1024;
const IDENTITY: &str = "node_identity.key";
const NOBODY: &str = "http://127.0.0.1:1";
const NO_CONTRACT: &str = "0x0000000000000000000000000000000000000001";
const REWARDS: [u8; 20] = [7; 20];

pub struct Node {
    pub p2p: Arc<P2PNode>,
    pub protocol: Arc<AntProtocol>,
    engine: tokio::sync::Mutex<ReplicationEngine>,
    serving: JoinHandle<()>,
    shutdown: CancellationToken,
}

pub fn core_config(bind: SocketAddr, bootstrap: &[SocketAddr]) -> Result<NodeConfig, String> {
    let mut config = NodeConfig::builder()
        .port(bind.port())
        .ipv6(false)
        .local(bind.ip().is_loopback())
        .connection_timeout(DIAL)
        .max_message_size(MESSAGE)
        .build()
        .map_err(|error| error.to_string())?;
    config.bootstrap_peers = bootstrap.iter().copied().map(MultiAddr::quic).collect();
    // Two nodes an address would be the default.
    config.diversity_config = Some(IPDiversityConfig::permissive());
    Ok(config)
}

impl Node {
    /// A node on what this directory holds: the identity and chunks of an earlier one,
    /// or a fresh identity and nothing.
    pub async fn start(
        bind: SocketAddr,
        bootstrap: &[SocketAddr],
        root: &Path,
    ) -> Result<Self, Failure> {
        let started = Self::try_start(bind, bootstrap, root).await;
        started.map_err(|error| Failure::new(Reason::Stack, error))
    }

    async fn try_start(
        bind: SocketAddr,
        bootstrap: &[SocketAddr],
        root: &Path,
    ) -> Result<Self, String> {
        let identity = Arc::new(identity(root).await?);
        let (writes, written) = tokio::sync::mpsc::unbounded_channel();
        let mut protocol = protocol(root, &identity).await?;
        protocol.set_fresh_write_sender(writes);
        let protocol = Arc::new(protocol);
        let mut config = core_config(bind, bootstrap)?;
        config.node_identity = Some(Arc::clone(&identity));
        let p2p = P2PNode::new(config).await.map_err(say)?;
        let p2p = Arc::new(p2p);
        protocol.attach_p2p_node(Arc::clone(&p2p));
        let shutdown = CancellationToken::new();
        let mut engine = ReplicationEngine::new(
            ReplicationConfig::default(),
            Arc::clone(&p2p),
            protocol.storage(),
            protocol.payment_verifier_arc(),
            identity,
            root,
            written,
            shutdown.clone(),
        )
        .await
        .map_err(say)?;
        // Before the start, which tells of the bootstrap once.
        let events = p2p.dht_manager().subscribe_events();
        p2p.start().await.map_err(say)?;
        let serving = tokio::spawn(serve(Arc::clone(&p2p), Arc::clone(&protocol)));
        engine.start(events);
        Ok(Self {
            p2p,
            protocol,
            engine: tokio::sync::Mutex::new(engine),
            serving,
            shutdown,
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

    /// An early round of what comes every ten to twenty minutes by itself.
    pub async fn sync_now(&self) {
        self.engine.lock().await.trigger_neighbor_sync();
    }

    /// In good order: the store may be opened again afterwards.
    pub async fn stop(&self) -> Result<(), String> {
        self.shutdown.cancel();
        self.engine.lock().await.shutdown().await;
        self.serving.abort();
        self.p2p.stop().await.map_err(say)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.serving.abort();
    }
}

/// Where a session's node keeps its things, also over the death of its process.
pub fn root_of(session: &str, node: &str) -> PathBuf {
    std::env::temp_dir().join(format!("saorsa-node-test-{session}-{node}"))
}

async fn identity(root: &Path) -> Result<NodeIdentity, String> {
    let file = root.join(IDENTITY);
    if file.exists() {
        return NodeIdentity::load_from_file(&file).await.map_err(say);
    }
    std::fs::create_dir_all(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let identity = NodeIdentity::generate().map_err(say)?;
    identity.save_to_file(&file).await.map_err(say)?;
    Ok(identity)
}

async fn protocol(root: &Path, identity: &NodeIdentity) -> Result<AntProtocol, String> {
    let store = ChunkStore::new(ChunkStoreConfig {
        root_dir: root.to_owned(),
        verify_on_read: true,
        ..ChunkStoreConfig::test_default()
    });
    let store = Arc::new(store.await.map_err(say)?);
    let rewards = RewardsAddress::new(REWARDS);
    let verifier = PaymentVerifier::new(PaymentVerifierConfig {
        evm: EvmVerifierConfig {
            network: Network::Custom(CustomNetwork::new(NOBODY, NO_CONTRACT, NO_CONTRACT)),
        },
        cache_capacity: 10_000,
        close_group_size: ReplicationConfig::default().close_group_size,
        local_rewards_address: rewards,
        price_floor: PriceFloorConfig::default(),
    });
    let mut quotes = QuoteGenerator::new(rewards, QuotingMetricsTracker::new(0));
    wire_ml_dsa_signer(&mut quotes, identity).map_err(say)?;
    Ok(AntProtocol::new(
        store,
        Arc::new(verifier),
        Arc::new(quotes),
    ))
}

/// The stack keeps this loop for itself; it is the same here.
async fn serve(p2p: Arc<P2PNode>, protocol: Arc<AntProtocol>) {
    let mut events = p2p.subscribe_events();
    loop {
        let (source, data) = match events.recv().await {
            Ok(P2PEvent::Message {
                topic,
                source: Some(source),
                data,
                ..
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
            match protocol.try_handle_request(&data).await {
                Ok(Some(answer)) => {
                    if let Err(error) = p2p
                        .send_message(&source, CHUNK_PROTOCOL_ID, answer, &[])
                        .await
                    {
                        tracing::warn!("cannot answer {}: {error}", source.short_hex());
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!("a request of {}: {error}", source.short_hex()),
            }
        });
    }
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}
