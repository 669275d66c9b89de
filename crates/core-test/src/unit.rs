//! The crate's public API on one peer: what its documentation promises, asked one by one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::{Notes, millis_since};
use model::protocol::{Failure, Perform, Performed, Reason};
use saorsa_core::identity::node_identity::NodeIdentity;
use saorsa_core::{MultiAddr, PeerId};

use crate::peer::{Peer, free_port, is_free, random_bytes};
use crate::tester::{Session, bind_of, unknown};

/// Trust in somebody unknown, as `P2PNode::peer_trust` documents it.
const NEUTRAL: f64 = 0.5;
const PORT_GIVEN_BACK: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(5);

pub async fn step(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    let bind = bind_of(call)?;
    let mut held = session.peer.lock().await;
    let mut checks = Checks::default();
    if call.step == "start" {
        *held = Some(start(bind, &mut checks).await?);
    } else {
        // A tester that was restarted has none: nothing is learnt.
        let Some(peer) = held.as_mut() else {
            return Ok(Performed::default());
        };
        match &*call.step {
            "health" => health(peer, &mut checks).await,
            "addresses" => addresses(peer, bind, &mut checks).await,
            "stop" => stop(peer, bind, &mut checks).await,
            "restart" => *held = restart(held.take(), bind, &mut checks).await?,
            _ => return Err(unknown(call)),
        }
    }
    Ok(Performed {
        measures: checks.0.taken(),
        said: serde_json::Value::Null,
    })
}

/// Each check is one trial, with its name as a condition.
#[derive(Default)]
struct Checks(Notes);

impl Checks {
    fn check(&mut self, name: &str, holds: bool, otherwise: impl FnOnce() -> String) {
        let went = if holds { Ok(()) } else { Err(otherwise()) };
        self.0.trial("checks", &[("check", name)], went);
    }

    fn took(&mut self, measure: &str, since: Instant) {
        self.0.sample(measure, &[], millis_since(since));
    }
}

async fn start(bind: SocketAddr, checks: &mut Checks) -> Result<Peer, Failure> {
    let began = Instant::now();
    let peer = Peer::start(bind, &[], None).await?;
    checks.took("start_ms", began);
    checks.check("runs after start", peer.node.is_running(), || {
        "is_running() is false after start()".into()
    });
    checks.check(
        "has its identity",
        peer.node.peer_id() == peer.identity.peer_id(),
        || "peer_id() is not that of the identity it was given".into(),
    );
    checks.check("port is bound", !is_free(bind), || {
        format!("{bind} can still be bound by somebody else")
    });
    Ok(peer)
}

async fn health(peer: &Peer, checks: &mut Checks) {
    let health = peer.node.health_check().await;
    checks.check("healthy", health.is_ok(), || format!("{:?}", health.err()));
    let before = peer.node.uptime();
    tokio::time::sleep(Duration::from_millis(20)).await;
    checks.check("uptime grows", peer.node.uptime() > before, || {
        "uptime() stands still".into()
    });
    let (count, peers) = (
        peer.node.peer_count().await,
        peer.node.connected_peers().await,
    );
    checks.check("alone", count == 0 && peers.is_empty(), || {
        format!("{count} peers, although it was told of none")
    });
    let stranger = PeerId::random();
    let trust = peer.node.peer_trust(&stranger);
    checks.check(
        "neutral to strangers",
        (trust - NEUTRAL).abs() < 1e-9,
        || format!("trust in a stranger is {trust}"),
    );
    let asked =
        tokio::time::timeout(ANSWER * 2, peer.ask(&stranger, random_bytes(16), ANSWER)).await;
    checks.check(
        "unknown peer is an error",
        matches!(asked, Ok(Err(_))),
        || format!("a request to nobody gave {asked:?}"),
    );
}

async fn addresses(peer: &Peer, bind: SocketAddr, checks: &mut Checks) {
    let listens = peer.node.listen_addrs().await;
    let ports: Vec<_> = listens.iter().filter_map(MultiAddr::port).collect();
    checks.check("listens on its port", ports == [bind.port()], || {
        format!(
            "listen_addrs() is {listens:?}, and the port {}",
            bind.port()
        )
    });
    let local = peer.node.local_addr();
    checks.check(
        "local address has the port",
        local.as_ref().and_then(MultiAddr::port) == Some(bind.port()),
        || format!("local_addr() is {local:?}"),
    );
    let relay = peer.node.relay_address().await;
    checks.check("no relay without peers", relay.is_none(), || {
        format!("relay_address() is {relay:?}")
    });
    let own = peer.node.dht_manager().local_dht_node().await;
    let undialable = own.addresses.iter().find(|address| {
        let socket = address.socket_addr();
        socket.is_none_or(|socket| socket.ip().is_unspecified() || socket.port() == 0)
    });
    checks.check("publishes no placeholder", undialable.is_none(), || {
        format!("it publishes {undialable:?}")
    });
    let key = *peer.node.peer_id().as_bytes();
    let closest = peer
        .node
        .dht_manager()
        .find_closest_nodes_local_with_self(&key, 4)
        .await;
    let is_self = closest.len() == 1 && closest[0].peer_id == *peer.node.peer_id();
    checks.check("closest to itself", is_self, || {
        format!("{} nodes are closest to a peer alone", closest.len())
    });
}

async fn stop(peer: &Peer, bind: SocketAddr, checks: &mut Checks) {
    let began = Instant::now();
    let stopped = peer.stop().await;
    checks.took("stop_ms", began);
    checks.check("stops", stopped.is_ok(), || format!("{stopped:?}"));
    checks.check("runs no more", !peer.node.is_running(), || {
        "is_running() is true after stop()".into()
    });
    let free = became_free(bind).await;
    checks.check("gives the port back at stop", free, || {
        format!("{bind} is still bound {PORT_GIVEN_BACK:?} after stop()")
    });
    let stranger = PeerId::random();
    let asked =
        tokio::time::timeout(ANSWER * 2, peer.ask(&stranger, random_bytes(16), ANSWER)).await;
    checks.check("stopped peer refuses", matches!(asked, Ok(Err(_))), || {
        format!("a request on a stopped peer gave {asked:?}")
    });
}

async fn became_free(bind: SocketAddr) -> bool {
    let began = Instant::now();
    while began.elapsed() < PORT_GIVEN_BACK {
        if is_free(bind) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// The same identity, through a file as an application keeps it, on the same port;
/// then somebody new comes and asks.
async fn restart(
    old: Option<Peer>,
    bind: SocketAddr,
    checks: &mut Checks,
) -> Result<Option<Peer>, Failure> {
    let Some(old) = old else { return Ok(None) };
    let infrastructure = |error: &dyn std::fmt::Display| {
        Failure::new(
            Reason::Infrastructure,
            format!("temporary storage: {error}"),
        )
    };
    let stack = |error: &dyn std::fmt::Display| Failure::new(Reason::Stack, error.to_string());
    let storage = tempfile::tempdir().map_err(|error| infrastructure(&error))?;
    let file = storage.path().join("identity");
    let saved = old.identity.save_to_file(&file).await;
    saved.map_err(|error| stack(&error))?;
    let loaded = NodeIdentity::load_from_file(&file).await;
    let loaded = Arc::new(loaded.map_err(|error| stack(&error))?);
    let before = *old.node.peer_id();
    drop(old);
    let free = became_free(bind).await;
    checks.check("gives the port back when dropped", free, || {
        format!("{bind} is still bound {PORT_GIVEN_BACK:?} after stop() and drop")
    });
    // The rest of the API is asked all the same.
    let bind = if free { bind } else { any_port(bind)? };
    let began = Instant::now();
    let peer = Peer::start(bind, &[], Some(Arc::clone(&loaded))).await?;
    checks.took("restart_ms", began);
    checks.check(
        "same peer after a restart",
        *peer.node.peer_id() == before,
        || "peer_id() changed, although the identity came from the same file".into(),
    );
    checks.check("runs after a restart", peer.node.is_running(), || {
        "is_running() is false after a restart".into()
    });
    let answered = greet(&peer, bind).await;
    checks.check("answers after the restart", answered.is_ok(), || {
        answered.err().unwrap_or_default()
    });
    Ok(Some(peer))
}

fn any_port(bind: SocketAddr) -> Result<SocketAddr, Failure> {
    free_port(bind.ip()).map_err(|error| {
        Failure::new(
            Reason::Infrastructure,
            format!("no port on {}: {error}", bind.ip()),
        )
    })
}

/// A second peer on any port of this host dials the first and asks it.
async fn greet(peer: &Peer, bind: SocketAddr) -> Result<(), String> {
    let other = SocketAddr::new(bind.ip(), 0);
    let guest = Peer::start(other, &[], None).await;
    let guest = guest.map_err(|failure| failure.to_string())?;
    let went = async {
        let who = guest.dial(&MultiAddr::quic(bind), ANSWER).await?;
        if who != *peer.node.peer_id() {
            return Err(format!("{} answers on {bind}", who.short_hex()));
        }
        guest.ask(&who, random_bytes(1024), ANSWER).await.map(drop)
    };
    let went = went.await;
    let stopped = guest.stop().await;
    went.and(stopped)
}
