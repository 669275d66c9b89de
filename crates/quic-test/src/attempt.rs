//! One attempt: an endpoint, its coordinators, a peer, a payload.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::exchange::Exchanger;
use ant_quic::{PeerConnection, PeerId};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::protocol::{ClaimedPath, Failure, Finished, ObservedAddress, Prepare, Prepared, Reason};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::announce::Relays;
use crate::claim::claimed;
use crate::link::{Link, MESSAGES, OverEndpoint};
use crate::node::{Node, write_peer};

/// When one coordinator has answered, the others get this much longer.
const STRAGGLERS: Duration = Duration::from_secs(2);
/// How long to wait for a coordinator to say what address it sees.
const OBSERVE_FOR: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);

pub struct Attempt {
    pub node: Arc<Node>,
    pub link: Arc<Link>,
    pub relays: Relays,
    /// Those that know us.
    pub coordinators: Vec<PeerId>,
    pub exchanger: Arc<Exchanger>,
    /// How the connection to the peer came about.
    connection: Arc<Mutex<Option<(SocketAddr, ClaimedPath)>>>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Attempt {
    /// A fresh endpoint that every coordinator has registered.
    pub async fn prepare(call: &Prepare) -> Result<(Self, Prepared), Failure> {
        let deadline = Instant::now() + Duration::from_millis(call.timeout_ms);
        let node = Arc::new(Node::open(call.bind, &call.coordinators).await?);
        let mut attempt = Self::listen(node, call)?;
        attempt.coordinators = attempt.reach(&call.coordinators, deadline).await?;
        attempt.await_observations(deadline).await;
        let prepared = Prepared {
            peer: write_peer(&attempt.node.endpoint.peer_id()),
            local: attempt.node.local,
            observed: attempt.observed(),
        };
        Ok((attempt, prepared))
    }

    /// Starts the loops without which nothing is read.
    fn listen(node: Arc<Node>, call: &Prepare) -> Result<Self, Failure> {
        let link = Arc::new(Link::new());
        let transport = OverEndpoint {
            endpoint: node.endpoint.clone(),
            link: Arc::clone(&link),
        };
        let exchanger = Arc::new(Exchanger::new(&call.payload, MESSAGES, transport)?);
        let connection = Arc::new(Mutex::new(None));
        let (relays, watching) = Relays::watch(&node.endpoint);
        let accepting = {
            let (node, link) = (Arc::clone(&node), Arc::clone(&link));
            let connection = Arc::clone(&connection);
            async move {
                node.accept(|accepted| note(&link, &connection, &accepted))
                    .await;
            }
        };
        let receiving = {
            let (node, link) = (Arc::clone(&node), Arc::clone(&link));
            let exchanger = Arc::clone(&exchanger);
            async move {
                node.receive(|from, message| link.receive(from, message, &exchanger))
                    .await;
            }
        };
        Ok(Self {
            node,
            link,
            relays,
            coordinators: Vec::new(),
            exchanger,
            connection,
            tasks: vec![watching, spawn(accepting), spawn(receiving)],
        })
    }

    /// Connects to all coordinators at once, and waits until they know us.
    async fn reach(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Vec<PeerId>, Failure> {
        let mut reaching: FuturesUnordered<_> =
            addresses.iter().map(|a| self.reach_one(*a)).collect();
        let (mut reached, mut errors, mut until) = (Vec::new(), Vec::new(), deadline);
        while let Ok(Some(outcome)) = timeout_at(until, reaching.next()).await {
            match outcome {
                Ok(coordinator) => {
                    reached.push(coordinator);
                    until = until.min(Instant::now() + STRAGGLERS);
                }
                Err(error) => errors.push(error),
            }
        }
        if reached.is_empty() && !addresses.is_empty() {
            return Err(Failure::new(
                Reason::Timeout,
                format!("no coordinator of {addresses:?} was reached: {errors:?}"),
            ));
        }
        if reached.len() < addresses.len() {
            debug!("reached {} of {addresses:?}: {errors:?}", reached.len());
        }
        Ok(reached)
    }

    async fn reach_one(&self, address: SocketAddr) -> Result<PeerId, String> {
        let endpoint = &self.node.endpoint;
        let connection = endpoint
            .connect_addr(address)
            .await
            .map_err(|error| error.to_string())?;
        let peer = connection.peer_id;
        self.link.add_coordinator(peer);
        self.link.become_known(endpoint, peer).await;
        Ok(peer)
    }

    async fn await_observations(&self, deadline: Instant) {
        let until = deadline.min(Instant::now() + OBSERVE_FOR);
        while self.observed().len() < self.coordinators.len() && Instant::now() < until {
            sleep(POLL).await;
        }
    }

    /// Our outer address as each connected peer reports it.
    ///
    /// Through our own relay the other side sees the relay's address; that is
    /// not ours.
    pub fn observed(&self) -> Vec<ObservedAddress> {
        let relays = self.relays.known();
        let peers = self.coordinators.iter().copied();
        let mut observed = Vec::new();
        for peer in peers.chain(self.link.peer()) {
            let Ok(Some(connection)) = self.node.endpoint.get_quic_connection(&peer) else {
                continue;
            };
            let by = connection.remote_address();
            for address in connection.all_observed_addresses() {
                if !relays.contains(&address) {
                    observed.push(ObservedAddress { by, address });
                }
            }
        }
        observed.dedup();
        observed
    }

    /// The peer was reached, by us or by it.
    pub fn connected(&self, connection: &PeerConnection) {
        note(&self.link, &self.connection, connection);
    }

    /// What this side saw; the endpoint is closed afterwards.
    pub async fn finish(&self) -> Finished {
        let noted = *lock(&self.connection);
        let live = self.link.peer().and_then(|peer| {
            let connection = self.node.endpoint.get_quic_connection(&peer);
            connection.ok().flatten().map(|c| c.remote_address())
        });
        let finished = Finished {
            local: self.node.local,
            observed: self.observed(),
            remote: live.or(noted.map(|(remote, _)| remote)),
            claimed: noted.map_or(ClaimedPath::Unknown, |(_, claimed)| claimed),
            sent: self.exchanger.sent(),
            received: self.exchanger.received(),
        };
        for task in &self.tasks {
            task.abort();
        }
        self.node.close().await;
        finished
    }
}

fn note(
    link: &Link,
    noted: &Mutex<Option<(SocketAddr, ClaimedPath)>>,
    connection: &PeerConnection,
) {
    if link.is_coordinator(&connection.peer_id) {
        return;
    }
    link.meet(connection.peer_id);
    if let Some(remote) = connection.remote_addr.as_socket_addr() {
        *lock(noted) = Some((remote, claimed(connection.traversal_method)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(work))
}
