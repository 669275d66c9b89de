//! A public ant-quic node: every one of them coordinates and relays.

use std::net::SocketAddr;

use model::protocol::Failure;
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::link::{HELLO, KNOWN};
use crate::node::{Node, write_peer};

/// Serves until dropped.
///
/// A peer that says hello is told when this node knows it: a dial by peer id
/// before that is refused by the stack and never tried again.
pub async fn serve(bind: SocketAddr, partners: &[SocketAddr]) -> Result<(), Failure> {
    let node = Node::open(bind, partners).await?;
    info!(
        "{} coordinates on {}",
        write_peer(&node.endpoint.peer_id()),
        node.local
    );
    let (greeted, mut greetings) = mpsc::unbounded_channel();
    let answer = async {
        while let Some(peer) = greetings.recv().await {
            let endpoint = node.endpoint.clone();
            // One slow peer must not hold up the others.
            tokio::spawn(async move {
                if let Err(error) = endpoint.send(&peer, KNOWN).await {
                    debug!("cannot answer {}: {error}", write_peer(&peer));
                }
            });
        }
    };
    tokio::join!(
        node.accept(|connection| debug!("accepted {:?}", connection.remote_addr)),
        node.receive(|peer, message| {
            if message == HELLO {
                // The receiver lives as long as this does.
                let _ = greeted.send(peer);
            }
        }),
        answer,
    );
    Ok(())
}
