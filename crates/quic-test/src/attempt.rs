//! One attempt: an endpoint, its coordinators, a peer, a payload.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent::exchange::Exchanger;
use agent::load::Incoming;
use ant_quic::PeerId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::protocol::{Failure, Finished, Prepare, Prepared, Reason};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::announce::Relays;
use crate::link::{Link, MESSAGES, OverEndpoint};
use crate::node::{Node, write_peer};
use crate::sight::Sight;

/// When one coordinator has answered, the others get this much longer.
const STRAGGLERS: Duration = Duration::from_secs(4);
/// How long to wait for a coordinator to say what address it sees.
const OBSERVE_FOR: Duration = Duration::from_secs(1);
/// How long `finish` waits for the endpoint to be gone.
const DRAIN: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(10);

pub struct Attempt {
    pub node: Arc<Node>,
    pub sight: Arc<Sight>,
    pub exchanger: Arc<Exchanger>,
    pub incoming: Incoming,
    link: Arc<Link>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Attempt {
    /// A fresh endpoint that every coordinator has registered.
    pub async fn prepare(call: &Prepare) -> Result<(Self, Prepared), Failure> {
        let deadline = Instant::now() + Duration::from_millis(call.timeout_ms);
        let node = Arc::new(Node::open(call.bind, &call.coordinators).await?);
        let attempt = Self::listen(node, call)?;
        let reached = attempt.reach(&call.coordinators, deadline).await?;
        attempt.await_observations(reached, deadline).await;
        let prepared = Prepared {
            peer: write_peer(&attempt.node.endpoint.peer_id()),
            local: attempt.node.local,
            observed: attempt.sight.observed(),
        };
        Ok((attempt, prepared))
    }

    /// Starts the loops without which nothing is read.
    fn listen(node: Arc<Node>, call: &Prepare) -> Result<Self, Failure> {
        let endpoint = &node.endpoint;
        let link = Arc::new(Link::new());
        let transport = OverEndpoint {
            endpoint: endpoint.clone(),
            link: Arc::clone(&link),
        };
        let exchanger = Arc::new(Exchanger::new(&call.payload, MESSAGES, transport)?);
        let (relays, watching) = Relays::watch(endpoint);
        let sight = Arc::new(Sight::new(endpoint.clone(), Arc::clone(&link), relays));
        let accepting = {
            let (node, sight) = (Arc::clone(&node), Arc::clone(&sight));
            async move { node.accept(|connection| sight.note(&connection)).await }
        };
        let receiving = {
            let (node, sight) = (Arc::clone(&node), Arc::clone(&sight));
            let (link, exchanger) = (Arc::clone(&link), Arc::clone(&exchanger));
            async move {
                node.receive(|from, message| {
                    link.receive(from, message, &exchanger);
                    sight.look();
                })
                .await;
            }
        };
        Ok(Self {
            node,
            sight,
            exchanger,
            incoming: Incoming::default(),
            link,
            tasks: vec![watching, spawn(accepting), spawn(receiving)],
        })
    }

    /// Connects to all coordinators at once, and waits until they know us;
    /// how many do.
    async fn reach(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<usize, Failure> {
        let mut reaching: FuturesUnordered<_> =
            addresses.iter().map(|a| self.reach_one(*a)).collect();
        let (mut reached, mut until) = (0, deadline);
        while let Ok(Some(())) = timeout_at(until, reaching.next()).await {
            reached += 1;
            until = until.min(Instant::now() + STRAGGLERS);
        }
        if reached == 0 && !addresses.is_empty() {
            return Err(Failure::new(
                Reason::Timeout,
                format!("no coordinator of {addresses:?} was reached"),
            ));
        }
        if reached < addresses.len() {
            warn!("only {reached} of the coordinators {addresses:?} were reached");
        }
        Ok(reached)
    }

    /// Tries until it succeeds.
    async fn reach_one(&self, address: SocketAddr) {
        let endpoint = &self.node.endpoint;
        let peer: PeerId = loop {
            match endpoint.connect_addr(address).await {
                Ok(connection) => break connection.peer_id,
                Err(error) => {
                    warn!("coordinator {address}: {error}");
                    sleep(POLL).await;
                }
            }
        };
        self.link.add_coordinator(peer);
        self.sight.add_coordinator(peer);
        self.link.become_known(endpoint, peer).await;
    }

    async fn await_observations(&self, coordinators: usize, deadline: Instant) {
        let until = deadline.min(Instant::now() + OBSERVE_FOR);
        while self.sight.observed().len() < coordinators && Instant::now() < until {
            sleep(POLL).await;
        }
    }

    /// The other side, once it is connected and has been heard of.
    pub fn peer(&self) -> Option<PeerId> {
        self.link.peer()
    }

    /// What this side saw; the endpoint closes afterwards.
    pub async fn finish(&self) -> Finished {
        let finished = Finished {
            local: self.node.local,
            observed: self.sight.observed(),
            remote: self.sight.remote(),
            claimed: self.sight.claimed(),
            sent: self.exchanger.sent(),
            received: self.exchanger.received(),
        };
        self.exchanger.stop();
        for task in &self.tasks {
            task.abort();
        }
        self.close().await;
        finished
    }

    /// A connection that never came about drains for seconds. Its port is used
    /// by nobody else, so what remains of that goes on behind our back; it must
    /// not be cut short, or the stack leaks what it holds.
    async fn close(&self) {
        let node = Arc::clone(&self.node);
        let closing = tokio::spawn(async move { node.close().await });
        let _ = tokio::time::timeout(DRAIN, closing).await;
    }
}

pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(work))
}
