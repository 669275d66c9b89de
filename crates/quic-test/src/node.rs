//! One ant-quic endpoint, set up the way this fleet needs it.

use std::net::SocketAddr;

use ant_quic::{BootstrapCacheConfig, P2pConfig, P2pEndpoint, PeerConnection, PeerId};
use model::protocol::{Failure, Reason};
use tracing::warn;

/// An endpoint that is shut down when it is dropped.
pub struct Node {
    pub endpoint: P2pEndpoint,
    pub local: SocketAddr,
}

impl Node {
    /// A fresh identity on exactly this address.
    ///
    /// Discovery by multicast and port mapping are off: peers must meet through
    /// coordinators and NATs alone. The bootstrap cache stays in memory, since
    /// its file would be shared by all the peers of a host.
    pub async fn open(bind: SocketAddr, known: &[SocketAddr]) -> Result<Self, Failure> {
        ensure_free(bind)?;
        let cache = BootstrapCacheConfig::builder().persist(false).build();
        let config = known
            .iter()
            .fold(P2pConfig::builder().bind_addr(bind), |config, peer| {
                config.known_peer(*peer)
            })
            .mdns_enabled(false)
            .port_mapping_enabled(false)
            .bootstrap_cache(cache)
            .build()
            .map_err(|error| Failure::new(Reason::Stack, format!("configuration: {error}")))?;
        let endpoint = P2pEndpoint::new(config)
            .await
            .map_err(|error| Failure::new(Reason::Stack, format!("endpoint on {bind}: {error}")))?;
        let local = endpoint.local_addr().unwrap_or(bind);
        Ok(Self { endpoint, local })
    }

    /// Accepts for ever; without this nothing that peers send is read.
    pub async fn accept(&self, mut accepted: impl FnMut(PeerConnection)) {
        while self.endpoint.is_running() {
            match self.endpoint.accept().await {
                Some(connection) => accepted(connection),
                // One refused connection; let the endpoint breathe.
                None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    }

    /// Reads every message of every peer until the endpoint ends.
    pub async fn receive(&self, mut received: impl FnMut(PeerId, &[u8])) {
        while let Ok((peer, message)) = self.endpoint.recv().await {
            received(peer, &message);
        }
    }

    /// Closes sockets and tasks.
    pub async fn close(&self) {
        if let Err(error) = self.endpoint.try_shutdown().await {
            warn!("{} did not close cleanly: {error}", self.local);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.endpoint.is_running() {
            return;
        }
        let endpoint = self.endpoint.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { endpoint.shutdown().await });
        }
    }
}

/// The stack's own words for a taken port do not say so reliably.
fn ensure_free(bind: SocketAddr) -> Result<(), Failure> {
    std::net::UdpSocket::bind(bind).map(drop).map_err(|error| {
        Failure::new(
            Reason::Infrastructure,
            format!("cannot bind UDP {bind}: {error}"),
        )
    })
}

/// A peer id as the protocol carries it.
pub fn write_peer(peer: &PeerId) -> String {
    hex::encode(peer.0)
}

pub fn read_peer(text: &str) -> Result<PeerId, Failure> {
    let mut id = [0; 32];
    hex::decode_to_slice(text, &mut id)
        .map(|()| PeerId(id))
        .map_err(|error| {
            Failure::new(
                Reason::BadRequest,
                format!("`{text}` is no peer id of this stack: {error}"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_ids_come_back() {
        let peer = PeerId([7; 32]);
        assert_eq!(read_peer(&write_peer(&peer)).unwrap(), peer);
        assert_eq!(read_peer("xyz").unwrap_err().reason, Reason::BadRequest);
    }

    #[test]
    fn a_taken_port_is_the_hosts_fault() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let failure = ensure_free(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(failure.reason, Reason::Infrastructure);
    }
}
