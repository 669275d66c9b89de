//! One saorsa-gossip peer: transport, membership and pubsub, put together the way an
//! application has to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use model::protocol::{Failure, Reason};
use saorsa_gossip_identity::MlDsaKeyPair;
use saorsa_gossip_membership::{HyParViewMembership, MembershipConfig};
use saorsa_gossip_pubsub::{PlumtreePubSub, PubSub};
use saorsa_gossip_transport::{
    AntPeerId, GossipStreamType, GossipTransport, UdpTransportAdapter, UdpTransportAdapterConfig,
};
use saorsa_gossip_types::{PeerHealthOracle, PeerId};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tracing::debug;

use crate::broadcast::Copies;
use crate::call::stack;

pub type Membership = HyParViewMembership<UdpTransportAdapter>;
pub type PlumTree = PlumtreePubSub<UdpTransportAdapter>;

/// How long a port may take to become free after its last peer.
const PORT_RELEASE: Duration = Duration::from_secs(3);

pub struct Node {
    pub local: SocketAddr,
    pub transport: Arc<UdpTransportAdapter>,
    pub membership: Arc<Membership>,
    pub pubsub: Arc<PlumTree>,
    /// Payload-bearing frames of pubsub, counted before the stack sees them.
    pub copies: Arc<Copies>,
    /// Frames of the bulk stream, which the stack leaves to the application.
    bulk: Mutex<Option<mpsc::UnboundedReceiver<(PeerId, Bytes)>>>,
    /// The stack's tasks have no end of their own: they hold the socket, and probe
    /// peers, as long as their runtime lives. So every peer has one.
    runtime: Option<Runtime>,
}

impl Node {
    /// A fresh identity on exactly this address.
    ///
    /// # Errors
    /// [`Reason::Infrastructure`] where the address cannot be bound.
    pub async fn open(bind: SocketAddr) -> Result<Self, Failure> {
        free(bind).await?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("gossip")
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Reason::Infrastructure, format!("threads: {error}")))?;
        let opened = runtime.spawn(Parts::open(bind)).await;
        match opened.map_err(|error| stack("opening a peer", error)) {
            Ok(Ok(parts)) => Ok(parts.on(bind, runtime)),
            Ok(Err(failure)) | Err(failure) => {
                runtime.shutdown_background();
                Err(failure)
            }
        }
    }

    pub fn id(&self) -> PeerId {
        self.transport.peer_id()
    }

    /// Runs a call of the stack where its tasks belong; dropped with the caller.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(runtime) = &self.runtime else {
            return Err(Failure::new(Reason::Closed, "this peer is closed"));
        };
        let mut task = AbortOnDrop(runtime.spawn(work));
        (&mut task.0)
            .await
            .map_err(|error| stack("the stack", error))
    }

    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }

    /// Given to whoever asks first.
    pub fn bulk(&self) -> Option<mpsc::UnboundedReceiver<(PeerId, Bytes)>> {
        self.bulk.lock().ok()?.take()
    }

    pub async fn connected(&self) -> Vec<PeerId> {
        self.transport.connected_peer_ids().await
    }

    /// Our outer addresses, as these peers see them.
    pub async fn observed(&self) -> Vec<SocketAddr> {
        let node = self.transport.node();
        let mut observed = Vec::new();
        for peer in self.connected().await {
            let connection = node
                .inner_endpoint()
                .get_quic_connection(&AntPeerId(peer.to_bytes()));
            let Ok(Some(connection)) = connection else {
                continue;
            };
            for address in connection.all_observed_addresses() {
                if !observed.contains(&address) {
                    observed.push(address);
                }
            }
        }
        observed
    }

    /// Says goodbye to every connection.
    pub async fn close(&self) {
        let (transport, pubsub) = (self.transport.clone(), self.pubsub.clone());
        let goodbye = self.run(async move {
            pubsub.shutdown().await;
            if let Err(error) = transport.close().await {
                debug!("closing: {error:#}");
            }
            if let Err(error) = transport.node().inner_endpoint().try_shutdown().await {
                debug!("closing the endpoint: {error}");
            }
        });
        if tokio::time::timeout(Duration::from_secs(5), goodbye)
            .await
            .is_err()
        {
            debug!("{} did not close in time", self.local);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Parts {
    transport: Arc<UdpTransportAdapter>,
    membership: Arc<Membership>,
    pubsub: Arc<PlumTree>,
    copies: Arc<Copies>,
    bulk: mpsc::UnboundedReceiver<(PeerId, Bytes)>,
}

impl Parts {
    async fn open(bind: SocketAddr) -> Result<Self, Failure> {
        let identity = MlDsaKeyPair::generate().map_err(|error| stack("identity", error))?;
        let config = UdpTransportAdapterConfig::new(bind, Vec::new()).with_keypair(
            identity.public_key().to_vec(),
            identity.secret_key().to_vec(),
        );
        let transport = UdpTransportAdapter::with_config(config, None)
            .await
            .map_err(|error| stack(&format!("transport on {bind}"), error))?;
        let transport = Arc::new(transport);
        let id = transport.peer_id();
        let membership = Arc::new(HyParViewMembership::new(
            id,
            MembershipConfig::default(),
            transport.clone(),
        ));
        let oracle: Arc<dyn PeerHealthOracle> = membership.swim_arc();
        let pubsub = PlumtreePubSub::new(id, transport.clone(), identity);
        let pubsub = Arc::new(pubsub.with_health_oracle(oracle));
        let copies = Arc::new(Copies::default());
        let (sender, bulk) = mpsc::unbounded_channel();
        tokio::spawn(dispatch(
            transport.clone(),
            membership.clone(),
            pubsub.clone(),
            copies.clone(),
            sender,
        ));
        Ok(Self {
            transport,
            membership,
            pubsub,
            copies,
            bulk,
        })
    }

    fn on(self, bind: SocketAddr, runtime: Runtime) -> Node {
        Node {
            local: self.transport.node().local_addr().unwrap_or(bind),
            transport: self.transport,
            membership: self.membership,
            pubsub: self.pubsub,
            copies: self.copies,
            bulk: Mutex::new(Some(self.bulk)),
            runtime: Some(runtime),
        }
    }
}

/// Takes every frame to the layer that it is for. Handlers send, and a send to a
/// peer that is gone waits for seconds, so that none may hold up the next frame.
async fn dispatch(
    transport: Arc<UdpTransportAdapter>,
    membership: Arc<Membership>,
    pubsub: Arc<PlumTree>,
    copies: Arc<Copies>,
    bulk: mpsc::UnboundedSender<(PeerId, Bytes)>,
) {
    while let Ok((from, stream, frame)) = transport.receive_message().await {
        match stream {
            GossipStreamType::Membership => {
                let membership = membership.clone();
                tokio::spawn(async move {
                    if let Err(error) = membership.dispatch_message(from, &frame).await {
                        debug!("membership, from {from}: {error:#}");
                    }
                });
            }
            GossipStreamType::PubSub => {
                copies.take(from, &frame);
                let pubsub = pubsub.clone();
                tokio::spawn(async move {
                    if let Err(error) = pubsub.handle_message(from, frame).await {
                        debug!("pubsub, from {from}: {error:#}");
                    }
                });
            }
            // Nobody takes it where the suite has no use for it.
            GossipStreamType::Bulk => drop(bulk.send((from, frame))),
        }
    }
}

/// The stack's own words for a taken port do not say so reliably.
async fn free(bind: SocketAddr) -> Result<(), Failure> {
    let began = tokio::time::Instant::now();
    loop {
        match std::net::UdpSocket::bind(bind) {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > PORT_RELEASE => {
                return Err(Failure::new(
                    Reason::Infrastructure,
                    format!("cannot bind UDP {bind}: {error}"),
                ));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
