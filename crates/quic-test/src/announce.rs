//! Where this side can be dialled through a relay.
//!
//! The stack arranges a relay by itself when two coordinators see two ports,
//! and tells it in an event. It never does for a NAT that keeps one port.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ant_quic::{P2pEndpoint, P2pEvent};
use model::protocol::{Announced, Failure, Reason};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::attempt::{Attempt, spawn};

/// A side whose port never varied may yet be told of a second one.
const MIND_CHANGES: Duration = Duration::from_millis(500);

/// The relays that the stack says it has.
pub struct Relays(watch::Receiver<Vec<SocketAddr>>);

impl Relays {
    /// Listens from the endpoint's first moment on: the event comes once.
    pub fn watch(endpoint: &P2pEndpoint) -> (Self, AbortOnDropHandle<()>) {
        let mut events = endpoint.subscribe();
        let (told, known) = watch::channel(Vec::new());
        let watching = spawn(async move {
            loop {
                match events.recv().await {
                    Ok(P2pEvent::RelayEstablished { relay_addr }) => {
                        told.send_modify(|relays: &mut Vec<SocketAddr>| {
                            if !relays.contains(&relay_addr) {
                                relays.push(relay_addr);
                            }
                        });
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        (Self(known), watching)
    }

    pub fn known(&self) -> Vec<SocketAddr> {
        self.0.borrow().clone()
    }

    async fn wait(&self) -> Vec<SocketAddr> {
        let mut known = self.0.clone();
        match known.wait_for(|relays| !relays.is_empty()).await {
            Ok(relays) => relays.clone(),
            Err(_) => Vec::new(),
        }
    }
}

/// Waits for a relay as long as the stack may still arrange one.
pub async fn announce(attempt: &Attempt, limit: Duration) -> Result<Announced, Failure> {
    let patience = if sees_two_ports(attempt) {
        limit
    } else {
        limit.min(MIND_CHANGES)
    };
    let relays = tokio::time::timeout(patience, attempt.sight.relays().wait())
        .await
        .unwrap_or_default();
    if !relays.is_empty() {
        return Ok(Announced { relays });
    }
    if sees_two_ports(attempt) {
        return Err(Failure::new(
            Reason::Timeout,
            format!("no relay within {patience:?}, though coordinators see two ports"),
        ));
    }
    Err(Failure::new(
        Reason::NoAddress,
        format!(
            "no relay: the stack makes one where coordinators see two ports, and here they see {:?}",
            attempt
                .sight
                .observed()
                .iter()
                .map(|o| o.address)
                .collect::<Vec<_>>()
        ),
    ))
}

fn sees_two_ports(attempt: &Attempt) -> bool {
    let ports: BTreeSet<u16> = attempt
        .sight
        .observed()
        .iter()
        .map(|o| o.address.port())
        .collect();
    ports.len() > 1
}
