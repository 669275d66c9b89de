//! Peers on all hosts, through whatever NATs are between them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use agent::{Notes, millis_since};
use futures::stream::{self, StreamExt as _};
use model::protocol::{Failure, Perform, Performed};
use saorsa_core::{AddressType, MultiAddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::peer::{Answer, Peer, random_bytes};
use crate::tester::{Session, bind_of, unknown};

/// Fellows that one tester turns to at once: the hosts share one machine on a twin.
const AT_ONCE: usize = 3;
const POLL: Duration = Duration::from_millis(100);

/// What a peer tells the others of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    peer: String,
    bind: SocketAddr,
    /// As it publishes itself, best first, each with the stack's type of it.
    published: Vec<(String, String)>,
    relay: Option<SocketAddr>,
}

struct Fellow {
    node: String,
    peer: PeerId,
    said: Said,
}

pub async fn step(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    let mut held = session.peer.lock().await;
    let mut notes = Notes::default();
    if call.step == "start" {
        *held = Some(start(call, &mut notes).await?);
    }
    // A tester that was restarted has no peer: nothing is learnt.
    let Some(peer) = held.as_ref() else {
        return Ok(Performed::default());
    };
    match &*call.step {
        "start" => {}
        "address" => address(peer, call, &mut notes).await,
        "lookup" => notes.append(with_each(call, |to| lookup(peer, to)).await),
        "connect" => notes.append(with_each(call, |to| connect(peer, call, to)).await),
        "request" => notes.append(with_each(call, |to| request(peer, call, to)).await),
        "relay" => notes.append(with_each(call, |to| relay(peer, call, to)).await),
        "leave" => leave(peer, &mut notes).await,
        _ => return Err(unknown(call)),
    }
    Ok(Performed {
        measures: notes.taken(),
        said: serde_json::to_value(say(peer, bind_of(call)?).await).unwrap_or_default(),
    })
}

async fn say(peer: &Peer, bind: SocketAddr) -> Said {
    let own = peer.node.dht_manager().local_dht_node().await;
    let published = own.typed_addresses_by_priority().into_iter();
    Said {
        peer: peer.node.peer_id().to_hex(),
        bind,
        published: published
            .map(|(address, kind)| (address.to_string(), format!("{kind:?}").to_lowercase()))
            .collect(),
        relay: peer.node.relay_address().await,
    }
}

/// Joined means connected to somebody, as the stack's bootstrap promises.
async fn start(call: &Perform, notes: &mut Notes) -> Result<Peer, Failure> {
    let bind = bind_of(call)?;
    let began = Instant::now();
    let peer = Peer::start(bind, &call.coordinators, None).await?;
    let node = &peer.node;
    let joined = until(call, began, || async move {
        node.is_bootstrapped() && node.peer_count().await > 0
    });
    if joined.await {
        notes.sample("join_ms", &[], millis_since(began));
        notes.trial("joined", &[], Ok(()));
    } else {
        let tried = &call.coordinators;
        notes.trial::<()>("joined", &[], Err(format!("nobody of {tried:?} let it in")));
    }
    Ok(peer)
}

/// Until the peer publishes an address that others can dial, and its relay if it gets one.
async fn address(peer: &Peer, call: &Perform, notes: &mut Notes) {
    let began = Instant::now();
    let known = until(call, began, || async move {
        let own = peer.node.dht_manager().local_dht_node().await;
        let mut typed = own.typed_addresses().into_iter();
        typed.any(|(_, kind)| kind != AddressType::Lan)
    });
    let known = known.await;
    let missing = || "it publishes no address outside its own network".to_owned();
    notes.trial(
        "address_known",
        &[],
        known.then_some(()).ok_or_else(missing),
    );
    let relayed = until(call, began, || async move {
        peer.node.relay_address().await.is_some()
    });
    if relayed.await {
        notes.sample("relay_ms", &[], millis_since(began));
        notes.trial("relay_acquired", &[], Ok(()));
    } else {
        notes.trial::<()>(
            "relay_acquired",
            &[],
            Err(format!("no relay address after {:?}", began.elapsed())),
        );
    }
}

/// Finds the other by its id alone, among the closest that the network names.
async fn lookup(peer: &Peer, to: Fellow) -> Notes {
    let mut notes = Notes::default();
    let began = Instant::now();
    let dht = peer.node.dht_manager();
    let found = dht.find_closest_nodes(to.peer.as_bytes(), 8).await;
    let took = millis_since(began);
    let went = match found {
        Ok(nodes) => match nodes.iter().find(|node| node.peer_id == to.peer) {
            Some(node) if node.addresses.is_empty() => {
                Err("it was found without an address".into())
            }
            Some(_) => Ok(()),
            None => Err(format!("it is not among the {} closest", nodes.len())),
        },
        Err(error) => Err(error.to_string()),
    };
    if went.is_ok() {
        notes.sample("lookup_ms", &[], took);
    }
    notes.trial("found", &[("to", &to.node)], went);
    notes
}

/// Dials what the other publishes, one address after the other, as its record ranks them.
async fn connect(peer: &Peer, call: &Perform, to: Fellow) -> Notes {
    let mut notes = Notes::default();
    let limit = share_of(call);
    let began = Instant::now();
    let mut errors = Vec::new();
    for (address, kind) in &to.said.published {
        let left = limit.saturating_sub(began.elapsed());
        let Ok(address) = MultiAddr::from_str(address) else {
            continue;
        };
        match peer.dial(&address, left).await {
            Ok(who) if who == to.peer => {
                notes.sample("connect_ms", &[("by", kind)], millis_since(began));
                notes.trial("connected", &[("to", &to.node)], Ok(()));
                return notes;
            }
            Ok(who) => errors.push(format!("{address} is {}", who.short_hex())),
            Err(error) => errors.push(error),
        }
    }
    let said = match errors.is_empty() {
        true => "it publishes no address".to_owned(),
        false => errors.join("; "),
    };
    notes.trial::<()>("connected", &[("to", &to.node)], Err(said));
    notes
}

/// Asks by peer id, as an application does; the stack finds a way or has one.
async fn request(peer: &Peer, call: &Perform, to: Fellow) -> Notes {
    let mut notes = Notes::default();
    let size = call.params["bytes"].as_u64().unwrap_or(16_384);
    let data = random_bytes(usize::try_from(size).unwrap_or(16_384));
    let limit = share_of(call);
    let began = Instant::now();
    let asked = tokio::time::timeout(limit, peer.ask(&to.peer, data, limit)).await;
    let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
    if let Ok(answer) = &asked {
        notes.sample("request_ms", &[], millis_since(began));
        route(&mut notes, peer, call, answer).await;
    }
    notes.trial("answered", &[("to", &to.node)], asked.map(drop));
    notes
}

/// What the other side's stack calls the way of our request, beside whose address it
/// came from: our own, or that of somebody who passed it on.
async fn route(notes: &mut Notes, peer: &Peer, call: &Perform, answer: &Answer) {
    let observed = match answer.source {
        Some(source) if own_addresses(peer, call).await.contains(&source.ip()) => "direct",
        Some(_) => "relay",
        None => "unknown",
    };
    let claimed = match answer.route.as_str() {
        // Direct as well, within one network.
        "lan" => "direct",
        other => other,
    };
    let says = matches!(claimed, "direct" | "relay");
    let conditions = [("claimed", claimed), ("observed", observed)];
    let otherwise = || format!("{claimed} is no class of a way");
    notes.trial(
        "route_named",
        &conditions,
        says.then_some(()).ok_or_else(otherwise),
    );
    if says && observed != "unknown" {
        let otherwise = || format!("it says {claimed}, and {:?} is {observed}", answer.source);
        let agrees = (claimed == observed).then_some(()).ok_or_else(otherwise);
        notes.trial("route_agrees", &conditions, agrees);
    }
}

/// Where packets of this host come from, without the relay that serves it.
async fn own_addresses(peer: &Peer, call: &Perform) -> BTreeSet<IpAddr> {
    let own = peer.node.dht_manager().local_dht_node().await;
    let typed = own.typed_addresses().into_iter();
    typed
        .filter(|(_, kind)| *kind != AddressType::Relay)
        .filter_map(|(address, _)| address.ip())
        .chain(call.bind.map(|bind| bind.ip()))
        .collect()
}

/// Dials the relay address of a peer that has one; only that peer may be there.
async fn relay(peer: &Peer, call: &Perform, to: Fellow) -> Notes {
    let mut notes = Notes::default();
    let Some(address) = to.said.relay else {
        return notes;
    };
    let began = Instant::now();
    let went = peer.dial(&MultiAddr::quic(address), share_of(call)).await;
    let went = went.and_then(|who| {
        let otherwise = || format!("{address} is {}", who.short_hex());
        (who == to.peer).then_some(()).ok_or_else(otherwise)
    });
    if went.is_ok() {
        notes.sample("relay_connect_ms", &[], millis_since(began));
    }
    notes.trial("relay_reached", &[("to", &to.node)], went);
    notes
}

async fn leave(peer: &Peer, notes: &mut Notes) {
    let began = Instant::now();
    let stopped = peer.stop().await;
    notes.sample("stop_ms", &[], millis_since(began));
    notes.trial("left", &[], stopped);
}

/// Every fellow once, a few at a time.
async fn with_each<F: Future<Output = Notes>>(call: &Perform, one: impl Fn(Fellow) -> F) -> Notes {
    let fellows: Vec<_> = fellows(call).into_iter().map(one).collect();
    let mut asked = stream::iter(fellows).buffer_unordered(AT_ONCE);
    let mut all = Notes::default();
    while let Some(notes) = asked.next().await {
        all.append(notes);
    }
    all
}

/// The others that have a peer.
fn fellows(call: &Perform) -> Vec<Fellow> {
    let read = |fellow: &model::protocol::Fellow| {
        let said: Said = serde_json::from_value(fellow.said.clone()).ok()?;
        Some(Fellow {
            node: fellow.node.clone(),
            peer: PeerId::from_hex(&said.peer).ok()?,
            said,
        })
    };
    call.fellows.iter().filter_map(read).collect()
}

/// What one fellow may take of the step's time, if all of them take it.
fn share_of(call: &Perform) -> Duration {
    let turns = call.fellows.len().div_ceil(AT_ONCE).max(1);
    let turns = u64::try_from(turns).unwrap_or(1);
    Duration::from_millis(call.timeout_ms.saturating_sub(1000) / turns)
}

/// Asks until it is so, or until only a second of the step is left.
async fn until<F: Future<Output = bool>>(
    call: &Perform,
    began: Instant,
    is_so: impl Fn() -> F,
) -> bool {
    let limit = Duration::from_millis(call.timeout_ms.saturating_sub(1000));
    loop {
        if is_so().await {
            return true;
        }
        if began.elapsed() >= limit {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}
