//! What this side gets to see of itself and of the peer, while it lasts.
//!
//! When the other side closes first, its connection and all that it told us are
//! gone; so every look is kept.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ant_quic::{P2pEndpoint, PeerConnection, PeerId};
use model::protocol::{ClaimedPath, ObservedAddress};

use crate::announce::Relays;
use crate::claim::claimed;
use crate::link::Link;

pub struct Sight {
    endpoint: P2pEndpoint,
    link: Arc<Link>,
    relays: Relays,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    coordinators: Vec<PeerId>,
    observed: Vec<ObservedAddress>,
    remote: Option<SocketAddr>,
    claimed: Option<ClaimedPath>,
}

impl Sight {
    pub fn new(endpoint: P2pEndpoint, link: Arc<Link>, relays: Relays) -> Self {
        Self {
            endpoint,
            link,
            relays,
            seen: Mutex::default(),
        }
    }

    pub fn relays(&self) -> &Relays {
        &self.relays
    }

    pub fn add_coordinator(&self, peer: PeerId) {
        self.seen().coordinators.push(peer);
    }

    /// A connection was made, by us or by the other side.
    pub fn note(&self, connection: &PeerConnection) {
        if self.link.is_coordinator(&connection.peer_id) {
            return;
        }
        self.link.meet(connection.peer_id);
        let mut seen = self.seen();
        seen.remote = connection.remote_addr.as_socket_addr();
        seen.claimed = Some(claimed(connection.traversal_method));
    }

    /// Asks every live connection what it knows.
    pub fn look(&self) {
        let relays = self.relays.known();
        let mut seen = self.seen();
        let peer = self.link.peer();
        for id in seen.coordinators.clone().into_iter().chain(peer) {
            let Ok(Some(connection)) = self.endpoint.get_quic_connection(&id) else {
                continue;
            };
            let by = connection.remote_address();
            if Some(id) == peer {
                seen.remote = Some(by);
            }
            for address in connection.all_observed_addresses() {
                let observed = ObservedAddress { by, address };
                // Through our own relay the other side sees the relay's address,
                // which is not ours.
                if !relays.contains(&address) && !seen.observed.contains(&observed) {
                    seen.observed.push(observed);
                }
            }
        }
    }

    /// Our outer address, as each peer reported it.
    pub fn observed(&self) -> Vec<ObservedAddress> {
        self.look();
        self.seen().observed.clone()
    }

    /// The peer's end of the connection, if there was any.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.seen().remote
    }

    /// A punched connection does not always come through `accept` on the side
    /// that was called; then the stack does not say.
    pub fn claimed(&self) -> ClaimedPath {
        self.seen().claimed.unwrap_or(ClaimedPath::Unknown)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
