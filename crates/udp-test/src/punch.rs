//! Reaching the peer: probes to every address it might have, all through a
//! rung, and answers to wherever its probes really come from.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::exchange::Exchanger;
use model::protocol::{ClaimedPath, ObservedAddress, Rung, Target};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::load::Tally;
use crate::wire::{Message, Tag, frame, unframe};

/// Probes go out this often at first, and then a little slower.
const EAGER: Duration = Duration::from_millis(30);
const EAGER_ROUNDS: u32 = 20;
const STEADY: Duration = Duration::from_millis(100);
/// More addresses than any peer has.
const MOST_CANDIDATES: usize = 16;

/// One socket and the peer at its other end.
pub struct Link {
    pub socket: UdpSocket,
    pub local: SocketAddr,
    /// How this side is named to the other.
    pub me: String,
    state: Mutex<State>,
    /// The address from which the peer acknowledged our probe.
    confirmed: watch::Sender<Option<SocketAddr>>,
    /// Of the transfer that comes in, if any.
    pub tally: watch::Sender<Tally>,
}

#[derive(Default)]
struct State {
    peer: Option<Peer>,
    observed: Vec<ObservedAddress>,
}

struct Peer {
    rung: Rung,
    /// On datagrams to it, and on datagrams from it.
    to: Tag,
    from: Tag,
    candidates: Vec<SocketAddr>,
    /// Payload flows: no more probes are needed.
    flowing: bool,
}

impl Link {
    pub fn new(socket: UdpSocket, local: SocketAddr, observed: Vec<ObservedAddress>) -> Self {
        Self {
            socket,
            local,
            me: format!("{:032x}", rand::random::<u128>()),
            state: Mutex::new(State {
                peer: None,
                observed,
            }),
            confirmed: watch::Sender::new(None),
            tally: watch::Sender::new(Tally::default()),
        }
    }

    /// From now on this peer is listened to, and no other.
    pub fn meet(&self, target: &Target, rung: Rung) {
        let mut candidates = target.addresses.clone();
        candidates.truncate(MOST_CANDIDATES);
        self.confirmed.send_replace(None);
        self.state().peer = Some(Peer {
            rung,
            to: Tag::new(&self.me, &target.peer),
            from: Tag::new(&target.peer, &self.me),
            candidates,
            flowing: false,
        });
    }

    /// Sends probes until payload flows, or until dropped.
    pub async fn keep_probing(&self) {
        for round in 0u32.. {
            let Some((tag, candidates)) = self.to_probe() else {
                return;
            };
            let probe = Message::Probe { tag }.encode();
            for candidate in candidates {
                // One unreachable candidate is no reason to spare the others.
                let _ = self.socket.send_to(&probe, candidate).await;
            }
            let pause = if round < EAGER_ROUNDS { EAGER } else { STEADY };
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits until a probe of ours was acknowledged by the peer.
    pub async fn wait_confirmed(&self) -> SocketAddr {
        let mut confirmed = self.confirmed.subscribe();
        loop {
            if let Some(address) = *confirmed.borrow_and_update() {
                return address;
            }
            if confirmed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads the socket for ever.
    pub async fn listen(&self, exchanger: &Exchanger) {
        let mut buffer = vec![0; 2048];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, from)) => self.handle(&buffer[..length], from, exchanger).await,
                // ICMP errors come here; they are no reason to stop.
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    async fn handle(&self, datagram: &[u8], from: SocketAddr, exchanger: &Exchanger) {
        let Some((to_tag, from_tag)) = self.state().peer.as_ref().map(|p| (p.to, p.from)) else {
            return;
        };
        if let Some(message) = unframe(from_tag, datagram) {
            self.payload_flows_from(from);
            if !Tally::takes(&self.tally, message) {
                exchanger.deliver(message);
            }
            return;
        }
        match Message::decode(datagram) {
            Some(Message::Probe { tag }) if tag == from_tag => {
                self.learn(from);
                let answer = Message::Answer {
                    tag: to_tag,
                    seen: from,
                };
                let _ = self.socket.send_to(&answer.encode(), from).await;
            }
            Some(Message::Answer { tag, seen }) if tag == from_tag => {
                self.observe(ObservedAddress {
                    by: from,
                    address: seen,
                });
                self.confirmed
                    .send_if_modified(|known| known.replace(from).is_none());
            }
            _ => {}
        }
    }

    /// Sends a piece of the payload to where the peer was last known to be.
    pub async fn send_payload(&self, message: &[u8]) -> Result<(), String> {
        self.send_payloads(message, 1).await
    }

    /// The same piece so many times, in one call. More than one take a kernel that cuts
    /// them apart.
    pub async fn send_payloads(&self, message: &[u8], times: usize) -> Result<(), String> {
        let remote = self.remote().ok_or("the peer has not been reached")?;
        let Some(tag) = self.state().peer.as_ref().map(|p| p.to) else {
            return Err("no peer".into());
        };
        self.socket
            .send_to(&frame(tag, message).repeat(times), remote)
            .await
            .map(drop)
            .map_err(|error| format!("sending to {remote}: {error}"))
    }

    pub fn remote(&self) -> Option<SocketAddr> {
        *self.confirmed.borrow()
    }

    pub fn claimed(&self) -> ClaimedPath {
        match self.state().peer.as_ref().map(|p| p.rung) {
            Some(Rung::Direct) if self.remote().is_some() => ClaimedPath::Direct,
            Some(Rung::Punched) if self.remote().is_some() => ClaimedPath::Punched,
            _ => ClaimedPath::Unknown,
        }
    }

    pub fn observed(&self) -> Vec<ObservedAddress> {
        self.state().observed.clone()
    }

    fn to_probe(&self) -> Option<(Tag, Vec<SocketAddr>)> {
        let state = self.state();
        let peer = state.peer.as_ref().filter(|p| !p.flowing)?;
        Some((peer.to, peer.candidates.clone()))
    }

    /// A symmetric NAT shows a port that nobody could announce.
    fn learn(&self, from: SocketAddr) {
        if let Some(peer) = &mut self.state().peer
            && !peer.candidates.contains(&from)
            && peer.candidates.len() < 2 * MOST_CANDIDATES
        {
            peer.candidates.push(from);
        }
    }

    fn observe(&self, observed: ObservedAddress) {
        let known = &mut self.state().observed;
        if !known.contains(&observed) {
            known.push(observed);
        }
    }

    fn payload_flows_from(&self, from: SocketAddr) {
        if let Some(peer) = &mut self.state().peer {
            peer.flowing = true;
        }
        self.confirmed.send_if_modified(|known| {
            let moved = *known != Some(from);
            *known = Some(from);
            moved
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
