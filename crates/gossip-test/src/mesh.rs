//! How peers come to be connected, which saorsa-gossip leaves to the application: its
//! messages name peers by id and never say where they are.
//!
//! Coordinators tell a peer its outer address, `said` tells it to the others, and
//! every pair connects once. Then HyParView joins over these connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent::{Notes, millis_since};
use futures::future::join_all;
use model::protocol::{Failure, Perform, Performed, Reason};
use saorsa_gossip_membership::Membership as _;
use saorsa_gossip_transport::{AntPeerId, GossipTransport};
use saorsa_gossip_types::PeerId;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use crate::call::{held, patience, performed, stack};
use crate::node::Node;
use crate::said::{Said, are_separated, fellows, is_absent};
use crate::session::Session;

const COORDINATOR: Duration = Duration::from_secs(10);
/// Until a coordinator has said where it sees us.
const OBSERVED: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);

/// Connects with the coordinators, and learns the outer address from them.
pub async fn present(node: &Arc<Node>, coordinators: &[SocketAddr]) -> Result<Said, Failure> {
    let dials = coordinators.iter().map(|at| {
        let (transport, at) = (node.transport.clone(), *at);
        node.run(async move { timeout(COORDINATOR, transport.dial_bootstrap(at)).await })
    });
    let answers = join_all(dials).await;
    let known = answers.iter().any(|answer| matches!(answer, Ok(Ok(Ok(_)))));
    if !known && !coordinators.is_empty() {
        return Err(Failure::new(
            Reason::Timeout,
            format!("no coordinator of {coordinators:?} answered within {COORDINATOR:?}"),
        ));
    }
    let until = Instant::now() + OBSERVED;
    let mut observed = node.observed().await;
    while observed.is_empty() && known && Instant::now() < until {
        sleep(LOOK).await;
        observed = node.observed().await;
    }
    let public = observed.iter().all(|address| *address == node.local);
    if observed.is_empty() {
        observed.push(node.local);
    }
    Ok(Said {
        peer: hex::encode(node.id().as_bytes()),
        addresses: observed,
        public,
        ..Said::default()
    })
}

pub fn introduce(session: &Session) -> Performed {
    performed(Notes::default(), &session.said())
}

/// Connects with every fellow that is not connected yet: of each pair one side dials.
pub async fn meet(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    let Some(peer) = session.peer() else {
        return Ok(performed(Notes::default(), &session.said()));
    };
    let until = Instant::now() + patience(call);
    let me = session.said().clone();
    let fellows = fellows(call);
    let here = fellows.iter().filter(|(name, said)| {
        said.is_here() && !is_absent(call, name) && !are_separated(call, &session.name, name)
    });
    let mine: Vec<(&String, &Said, PeerId)> = here
        .filter(|(name, said)| dials(&session.name, &me, name, said))
        .filter_map(|(name, said)| Some((name, said, said.peer_id()?)))
        .collect();
    let connected = peer.node.connected().await;
    let mine = mine
        .into_iter()
        .filter(|(_, _, id)| !connected.contains(id));
    let links = join_all(mine.map(|(name, said, id)| {
        let node = peer.node.clone();
        async move { (name, said, link(&node, id, said, until).await) }
    }))
    .await;
    let mut notes = Notes::default();
    for (name, said, made) in links.iter().filter(|_| call.suite == "broadcast") {
        let why = made.as_ref().err().cloned().unwrap_or_default();
        let why_not = || format!("{name} at {:?}: {why}", said.addresses);
        notes.trial("linked", &[], held(made.is_ok(), why_not));
    }
    peer.watch.follow(&fellows);
    Ok(performed(notes, &session.said()))
}

/// Whoever is behind a NAT dials whoever is not; else the names decide.
fn dials(me: &str, mine: &Said, name: &str, theirs: &Said) -> bool {
    match (mine.public, theirs.public) {
        (false, true) => true,
        (true, false) => false,
        _ => me < name,
    }
}

/// A public address is dialled; a peer behind a NAT is reached through both NATs by
/// its id. (The stack's own `dial` tries the address for its full timeout first.)
async fn link(node: &Arc<Node>, id: PeerId, said: &Said, until: Instant) -> Result<(), String> {
    let transport = node.transport.clone();
    let address = said.addresses.first().copied();
    let public = said.public;
    let work = node.run(async move {
        match address.filter(|_| public) {
            Some(address) => transport
                .dial(id, address)
                .await
                .map_err(|e| format!("{e:#}")),
            None => {
                let node = transport.node();
                let connected = node.connect_peer(AntPeerId(id.to_bytes())).await;
                connected.map(drop).map_err(|error| error.to_string())
            }
        }
    });
    match timeout_at(until, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(failure)) => Err(failure.detail),
        Err(_) => Err("not connected in time".into()),
    }
}

/// Joins the overlay through the first public peer, which joins nobody.
pub async fn enter(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    let Some(peer) = session.peer() else {
        return Ok(performed(Notes::default(), &session.said()));
    };
    let began = Instant::now();
    if let Some(seed) = seed(session, call) {
        debug!("joining through {seed}");
        let membership = peer.node.membership.clone();
        let join = peer
            .node
            .run(async move { membership.join(vec![seed.to_string()]).await });
        timeout(patience(call), join)
            .await
            .map_err(|_| {
                Failure::new(
                    Reason::Timeout,
                    format!("HyParView did not join through {seed} in time"),
                )
            })??
            .map_err(|error| stack("HyParView join", error))?;
    }
    peer.inbox.keep_topic_peers(&peer.node);
    peer.replica.keep_in_step(&peer.node, fellows(call));
    let mut notes = Notes::default();
    if call.suite == "membership" {
        notes.sample("join_ms", &[], millis_since(began.into()));
    }
    Ok(performed(notes, &session.said()))
}

/// The seed's address. A peer that comes back joins through whoever is there.
fn seed(session: &Session, call: &Perform) -> Option<SocketAddr> {
    let fellows = fellows(call);
    let here = fellows
        .iter()
        .filter(|(name, said)| said.is_here() && !is_absent(call, name));
    let others = here
        .filter(|(_, said)| said.public)
        .map(|(name, said)| (name.as_str(), said.addresses.first().copied()));
    let first = others.min_by_key(|(name, _)| name.to_owned())?;
    let comes_back = call.step != "enter" || call.params["again"] == true;
    let is_seed = session.said().public && session.name.as_str() < first.0;
    first.1.filter(|_| comes_back || !is_seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(public: bool) -> Said {
        Said {
            public,
            ..Said::default()
        }
    }

    #[test]
    fn of_every_pair_one_side_dials() {
        for (one, other) in [(false, false), (false, true), (true, false), (true, true)] {
            let there = dials("a", &said(one), "b", &said(other));
            let back = dials("b", &said(other), "a", &said(one));
            assert_ne!(there, back);
        }
        assert!(dials("b", &said(false), "a", &said(true)));
    }
}
