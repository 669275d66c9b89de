//! One rung at a time: each dials by its own way and no other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agent::millis_since;
use ant_quic::{P2pEndpoint, PeerConnection, PeerId, StrategyConfig};
use model::protocol::{Connected, Dial, Failure, Reason, Rung};

use crate::attempt::Attempt;
use crate::claim::{claimed, failure};
use crate::node::{read_peer, write_peer};

pub async fn dial(attempt: &Attempt, call: &Dial) -> Result<Connected, Failure> {
    let target = read_peer(&call.target.peer)?;
    let limit = Duration::from_millis(call.timeout_ms);
    let started = Instant::now();
    let endpoint = &attempt.node.endpoint;
    let reached = async {
        match call.rung {
            Rung::Direct => by_address(endpoint, &call.target.addresses, limit).await,
            Rung::Punched => by_peer_id(endpoint, target).await,
            Rung::Relayed | Rung::Reverse => by_address(endpoint, &call.target.relays, limit).await,
        }
    };
    let connection = tokio::time::timeout(limit, reached)
        .await
        .map_err(|_| timed_out(call, limit))??;
    let elapsed_ms = millis_since(started);
    ensure_is(target, &connection)?;
    attempt.sight.note(&connection);
    attempt.sight.look();
    Ok(Connected {
        remote: remote(&connection)?,
        claimed: claimed(connection.traversal_method),
        elapsed_ms,
    })
}

/// Connects to the first address that answers. The stack's own ladder stays
/// out of it: without a coordinator and relays it has the direct step only.
async fn by_address(
    endpoint: &P2pEndpoint,
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<PeerConnection, Failure> {
    let mut last = Failure::new(Reason::NoAddress, "the target has no address for this rung");
    for address in addresses {
        let (v4, v6) = if address.is_ipv4() {
            (Some(*address), None)
        } else {
            (None, Some(*address))
        };
        let strategy = StrategyConfig {
            ipv4_timeout: limit,
            ipv6_timeout: limit,
            relay_enabled: false,
            ..StrategyConfig::default()
        };
        match endpoint
            .connect_with_fallback(v4, v6, Some(strategy), None)
            .await
        {
            Ok((connection, _)) => return Ok(connection),
            Err(error) => last = failure(&format!("dialling {address}"), &error),
        }
    }
    Err(last)
}

/// The stack asks a coordinator that it knows, and both sides punch.
async fn by_peer_id(endpoint: &P2pEndpoint, target: PeerId) -> Result<PeerConnection, Failure> {
    endpoint
        .connect_peer(target)
        .await
        .map_err(|error| failure("dialling by peer id", &error))
}

/// A relay or a stranger may answer at an address; the key says who it is.
fn ensure_is(target: PeerId, connection: &PeerConnection) -> Result<(), Failure> {
    if connection.peer_id == target {
        return Ok(());
    }
    Err(Failure::new(
        Reason::Refused,
        format!(
            "{:?} answered as another peer, {}",
            connection.remote_addr,
            write_peer(&connection.peer_id)
        ),
    ))
}

fn remote(connection: &PeerConnection) -> Result<SocketAddr, Failure> {
    connection.remote_addr.as_socket_addr().ok_or_else(|| {
        Failure::new(
            Reason::Stack,
            format!(
                "connected over {:?}, which is no IP",
                connection.remote_addr
            ),
        )
    })
}

fn timed_out(call: &Dial, limit: Duration) -> Failure {
    let tried = match call.rung {
        Rung::Direct => format!("{:?}", call.target.addresses),
        Rung::Punched => format!("peer {}", call.target.peer),
        Rung::Relayed | Rung::Reverse => format!("relay {:?}", call.target.relays),
    };
    Failure::new(
        Reason::Timeout,
        format!("{tried} did not connect within {limit:?}"),
    )
}
