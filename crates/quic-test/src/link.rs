//! Messages of an attempt over the stack's own `send` and `recv`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agent::exchange::{Exchanger, Settings, Transport};
use ant_quic::{P2pEndpoint, PeerId};
use tokio::sync::watch;

/// Peer → coordinator, repeated until it answers.
pub const HELLO: &[u8] = b"vps-test: do you know me";
/// Coordinator → peer: its stack has registered you.
pub const KNOWN: &[u8] = b"vps-test: you are known";
/// First byte of an exchange message.
const EXCHANGE: u8 = 0xE5;

/// A dead connection must not hold the exchange: another may be there by now.
const SEND_LIMIT: Duration = Duration::from_secs(2);

/// The stack is reliable once it delivers at all, so resending is for the
/// message that it loses at the very beginning.
pub const MESSAGES: Settings = Settings {
    max_message: 16 * 1024,
    pace: Duration::ZERO,
    first_timeout: Duration::from_secs(1),
    least_timeout: Duration::from_millis(500),
};

/// Who is who on one endpoint.
pub struct Link {
    /// Peers that only help.
    coordinators: Mutex<BTreeSet<PeerId>>,
    /// Coordinators that said they know us.
    known_by: watch::Sender<BTreeSet<PeerId>>,
    /// The other side of the attempt.
    peer: watch::Sender<Option<PeerId>>,
}

impl Link {
    pub fn new() -> Self {
        Self {
            coordinators: Mutex::default(),
            known_by: watch::Sender::new(BTreeSet::new()),
            peer: watch::Sender::new(None),
        }
    }

    pub fn add_coordinator(&self, peer: PeerId) {
        self.coordinators
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(peer);
    }

    pub fn is_coordinator(&self, peer: &PeerId) -> bool {
        self.coordinators
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(peer)
    }

    /// The peer that we dialled, or that dialled us.
    pub fn meet(&self, peer: PeerId) {
        self.peer.send_replace(Some(peer));
    }

    pub fn peer(&self) -> Option<PeerId> {
        *self.peer.borrow()
    }

    /// Says hello until this coordinator has answered.
    pub async fn become_known(&self, endpoint: &P2pEndpoint, coordinator: PeerId) {
        let mut known_by = self.known_by.subscribe();
        loop {
            // The first message on a connection may be lost.
            let _ = endpoint.send(&coordinator, HELLO).await;
            let answered = known_by.wait_for(|by| by.contains(&coordinator));
            if tokio::time::timeout(Duration::from_millis(300), answered)
                .await
                .is_ok()
            {
                return;
            }
        }
    }

    /// A message came. Whoever sends payload is the peer: the endpoint is
    /// fresh, and only coordinators and the other side know of it.
    pub fn receive(&self, from: PeerId, message: &[u8], exchanger: &Exchanger) {
        if message == KNOWN {
            self.known_by.send_modify(|by| {
                by.insert(from);
            });
        } else if let Some((&EXCHANGE, message)) = message.split_first()
            && !self.is_coordinator(&from)
        {
            self.meet(from);
            exchanger.deliver(message);
        }
    }
}

/// The exchange's way to the peer.
pub struct OverEndpoint {
    pub endpoint: P2pEndpoint,
    pub link: std::sync::Arc<Link>,
}

impl Transport for OverEndpoint {
    async fn send(&self, message: Vec<u8>) -> Result<(), String> {
        let peer = self.link.peer().ok_or("no peer yet")?;
        let message = [&[EXCHANGE], message.as_slice()].concat();
        tokio::time::timeout(SEND_LIMIT, self.endpoint.send(&peer, &message))
            .await
            .map_err(|_| format!("send() did not return within {SEND_LIMIT:?}"))?
            .map_err(|error| error.to_string())
    }
}
