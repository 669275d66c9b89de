//! One round of a suite: a peer, and what its steps keep for one another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::protocol::{Failure, Perform, Reason};

use crate::broadcast::Inbox;
use crate::crdt::Replica;
use crate::membership::Watch;
use crate::mesh;
use crate::node::Node;
use crate::said::Said;

pub struct Session {
    pub id: String,
    pub name: String,
    pub bind: SocketAddr,
    peer: Mutex<Option<Peer>>,
    said: Mutex<Said>,
}

/// A running peer, with what its suite sees through it.
#[derive(Clone)]
pub struct Peer {
    pub node: Arc<Node>,
    pub inbox: Arc<Inbox>,
    pub replica: Arc<Replica>,
    pub watch: Arc<Watch>,
}

impl Session {
    /// A peer that the coordinators know.
    pub async fn open(call: &Perform) -> Result<Self, Failure> {
        let bind = call.bind.ok_or_else(|| {
            Failure::new(
                Reason::BadRequest,
                "a session needs an address to bind: perform this suite without attempts",
            )
        })?;
        let session = Self {
            id: call.session.to_string(),
            name: call.node.clone(),
            bind,
            peer: Mutex::default(),
            said: Mutex::default(),
        };
        session.start(call).await?;
        Ok(session)
    }

    /// Opens the session's peer, for the first time or again.
    pub async fn start(&self, call: &Perform) -> Result<(), Failure> {
        let node = Arc::new(Node::open(self.bind).await?);
        match mesh::present(&node, &call.coordinators).await {
            Ok(introduction) => *self.said() = introduction,
            Err(failure) => {
                node.close().await;
                return Err(failure);
            }
        }
        *self.peer_slot() = Some(Peer {
            inbox: Inbox::open(&node, &self.id).await?,
            replica: Replica::open(&node).await?,
            watch: Watch::open(&node),
            node,
        });
        Ok(())
    }

    /// Closes the session's peer; what it said stays.
    pub async fn close(&self) {
        let peer = self.peer_slot().take();
        if let Some(peer) = peer {
            peer.node.close().await;
        }
    }

    /// `None` between leaving and coming back.
    pub fn peer(&self) -> Option<Peer> {
        self.peer_slot().clone()
    }

    pub fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer_slot(&self) -> MutexGuard<'_, Option<Peer>> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
