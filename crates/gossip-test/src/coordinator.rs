//! The public node that peers meet through: it tells them their outer addresses and
//! helps them punch. It takes no part in gossip, so that no suite and no round finds
//! in its views what an earlier one left there.

use std::net::SocketAddr;

use model::protocol::Failure;
use saorsa_gossip_transport::{GossipTransport, UdpTransportAdapter, UdpTransportAdapterConfig};
use tracing::info;

use crate::call::stack;

/// Serves until dropped.
pub async fn serve(bind: SocketAddr, partners: &[SocketAddr]) -> Result<(), Failure> {
    let config = UdpTransportAdapterConfig::new(bind, partners.to_vec());
    let transport = UdpTransportAdapter::with_config(config, None)
        .await
        .map_err(|error| stack(&format!("transport on {bind}"), error))?;
    info!("{} coordinates on {bind}", transport.peer_id());
    while transport.receive_message().await.is_ok() {}
    Ok(())
}
