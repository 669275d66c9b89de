//! One case on real peers: each operation is done, and held against the model.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::millis_since;
use saorsa_core::identity::node_identity::NodeIdentity;
use saorsa_core::{MultiAddr, PeerId};

use super::model::{Expected, Model};
use super::operation::{Operation, PEERS};
use crate::peer::{Peer, free_port, is_free, random_bytes};

/// Long enough for a dial that fails by itself.
const LIMIT: Duration = Duration::from_secs(5);

pub struct Ran {
    pub went: Result<(), String>,
    pub took: Vec<(&'static str, f64)>,
}

/// One peer of a case, running or not: it keeps its identity, and its port if it can.
struct Place {
    identity: Arc<NodeIdentity>,
    address: SocketAddr,
    peer: Option<Peer>,
}

pub async fn run(host: IpAddr, operations: &[Operation]) -> Ran {
    let mut took = Vec::new();
    let mut places = match settle(host) {
        Ok(places) => places,
        Err(error) => {
            return Ran {
                went: Err(error),
                took,
            };
        }
    };
    let went = hold(&mut places, operations, &mut took).await;
    for place in &mut places {
        if let Some(peer) = place.peer.take() {
            let _ = tokio::time::timeout(LIMIT, peer.stop()).await;
        }
    }
    Ran { went, took }
}

fn settle(host: IpAddr) -> Result<Vec<Place>, String> {
    let place = |_| {
        let address = free_port(host);
        Ok(Place {
            identity: Arc::new(NodeIdentity::generate().map_err(|error| error.to_string())?),
            address: address.map_err(|error| format!("no port on {host}: {error}"))?,
            peer: None,
        })
    };
    (0..PEERS).map(place).collect()
}

async fn hold(
    places: &mut [Place],
    operations: &[Operation],
    took: &mut Vec<(&'static str, f64)>,
) -> Result<(), String> {
    let mut model = Model::default();
    for (number, operation) in operations.iter().copied().enumerate() {
        let expected = model.expects(operation);
        if expected == Expected::Nothing {
            continue;
        }
        let began = Instant::now();
        let done = tokio::time::timeout(LIMIT * 3, perform(places, operation)).await;
        let done = done.map_err(|_| {
            format!(
                "{number}: {operation:?} did not return within {:?}",
                LIMIT * 3
            )
        })?;
        if done.is_ok() {
            took.push((operation.name(), millis_since(began)));
        }
        match (expected, &done) {
            (Expected::Success, Err(error)) => {
                return Err(format!("{number}: {operation:?} failed: {error}"));
            }
            (Expected::Failure, Ok(())) => {
                return Err(format!("{number}: {operation:?} succeeded, and could not"));
            }
            _ => {}
        }
        model.apply(operation, done.is_ok());
        invariants(places, &model)
            .await
            .map_err(|broken| format!("after {number}: {operation:?}: {broken}"))?;
    }
    Ok(())
}

async fn perform(places: &mut [Place], operation: Operation) -> Result<(), String> {
    match operation {
        Operation::Start(place) => start(&mut places[place]).await,
        Operation::Stop(place) => match places[place].peer.take() {
            Some(peer) => peer.stop().await,
            None => Ok(()),
        },
        Operation::Health(place) => {
            let health = running(places, place)?.node.health_check().await;
            health.map_err(|error| error.to_string())
        }
        Operation::Connect { from, to } => {
            let address = MultiAddr::quic(places[to].address);
            let who = running(places, from)?.dial(&address, LIMIT).await?;
            let is_to = who == id(places, to);
            is_to
                .then_some(())
                .ok_or_else(|| format!("{} answered", who.short_hex()))
        }
        Operation::Disconnect { from, to } => {
            let to = id(places, to);
            let done = running(places, from)?.node.disconnect_peer(&to).await;
            done.map_err(|error| error.to_string())
        }
        Operation::Request { from, to, bytes } => request(places, from, to, bytes).await,
    }
}

/// Where it was, if the stack has let go of the port by now: whether it does is the
/// suite `unit`'s to find out.
async fn start(place: &mut Place) -> Result<(), String> {
    if !is_free(place.address) {
        let host = place.address.ip();
        place.address = free_port(host).map_err(|error| format!("no port on {host}: {error}"))?;
    }
    let identity = Some(Arc::clone(&place.identity));
    let peer = Peer::start(place.address, &[], identity).await;
    place.peer = Some(peer.map_err(|failure| failure.to_string())?);
    Ok(())
}

/// Exactly once: a request that succeeds has come once, whatever the stack repeated.
async fn request(places: &[Place], from: usize, to: usize, bytes: usize) -> Result<(), String> {
    let mut data = random_bytes(bytes);
    let marked = bytes >= 16;
    if bytes == 1 {
        data[0] = 7;
    }
    running(places, from)?
        .ask(&id(places, to), data.clone(), LIMIT)
        .await?;
    // Shorter ones are not unique.
    match running(places, to)?.heard(&data) {
        1 => Ok(()),
        heard if marked => Err(format!("the request came {heard} times")),
        _ => Ok(()),
    }
}

/// What holds after every operation.
async fn invariants(places: &[Place], model: &Model) -> Result<(), String> {
    for (number, place) in places.iter().enumerate() {
        let Some(peer) = &place.peer else { continue };
        if peer.node.is_running() != model.is_running(number) {
            return Err(format!(
                "peer {number}: is_running() is {}",
                peer.node.is_running()
            ));
        }
        if peer.node.peer_id() != place.identity.peer_id() {
            return Err(format!("peer {number} changed its identity"));
        }
        let connected = peer.node.connected_peers().await;
        let stranger = connected.iter().find(|who| {
            *who == peer.node.peer_id() || !places.iter().any(|p| p.identity.peer_id() == *who)
        });
        if let Some(who) = stranger {
            return Err(format!("peer {number} is connected to {}", who.short_hex()));
        }
    }
    Ok(())
}

fn running(places: &[Place], place: usize) -> Result<&Peer, String> {
    let peer = places[place].peer.as_ref();
    peer.ok_or_else(|| format!("peer {place} does not run"))
}

fn id(places: &[Place], place: usize) -> PeerId {
    *places[place].identity.peer_id()
}
