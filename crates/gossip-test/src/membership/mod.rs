//! Who is there, as HyParView and SWIM have it, against what was done to the peers.

mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent::Notes;
use model::protocol::{Failure, Perform, Performed};
use saorsa_gossip_membership::{
    HyParViewMessage, Membership as _, MembershipProtocolMessage, PeerState,
};
use saorsa_gossip_transport::{GossipStreamType, GossipTransport};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tracing::debug;

pub use watch::Watch;

use crate::call::{held, params, patience, performed};
use crate::clock::now_ms;
use crate::mesh;
use crate::said::{Said, are_separated, fellows, is_absent};
use crate::session::{Peer, Session};
use crate::suites::no_such_step;

const LOOK: Duration = Duration::from_millis(50);

pub async fn step(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    // Who left is asked like all others, and only coming back is for it.
    match (call.step.as_str(), session.peer()) {
        ("return", _) => come_back(session, call).await,
        (_, None) => Ok(performed(Notes::default(), &session.said())),
        ("settle", Some(peer)) => settle(session, &peer, call).await,
        ("overlay", Some(_)) => Ok(overlay(session, call)),
        ("leave", Some(peer)) => leave(session, &peer).await,
        ("left", Some(peer)) => noticed(session, &peer, call, Fault::Leave).await,
        ("crashed", Some(peer)) => noticed(session, &peer, call, Fault::Crash).await,
        ("split", Some(peer)) => noticed(session, &peer, call, Fault::Partition).await,
        ("heal", Some(peer)) => heal(session, &peer, call).await,
        _ => Err(no_such_step(call)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Leave,
    Crash,
    Partition,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Crash => "crash",
            Self::Partition => "partition",
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settle {
    seconds: u64,
}

impl Default for Settle {
    fn default() -> Self {
        Self { seconds: 5 }
    }
}

/// Nothing is done to anybody; whoever is suspected now is suspected wrongly.
async fn settle(session: &Session, peer: &Peer, call: &Perform) -> Result<Performed, Failure> {
    let Settle { seconds } = params(call)?;
    let before = now_ms();
    sleep(Duration::from_secs(seconds)).await;
    let fellows = fellows(call);
    let active = peer.node.membership.active_view();
    let passive = peer.node.membership.passive_view();
    let names = fellows
        .iter()
        .filter(|(_, said)| said.peer_id().is_some_and(|id| active.contains(&id)));
    session.said().view = Some(names.map(|(name, _)| name.clone()).collect());
    let mut notes = Notes::default();
    for (view, size) in [("active", active.len()), ("passive", passive.len())] {
        notes.sample("view_size", &[("view", view)], size as f64);
    }
    unsuspected(session, peer, call, &fellows, before, &mut notes);
    peer.watch.now_quiet();
    Ok(performed(notes, &session.said()))
}

/// Over everyone's active views, can this peer reach all that are here?
fn overlay(session: &Session, call: &Perform) -> Performed {
    let fellows = fellows(call);
    let here: BTreeSet<&str> = fellows
        .iter()
        .filter(|(name, said)| said.is_here() && !is_absent(call, name))
        .map(|(name, _)| name.as_str())
        .collect();
    let own = session.said().view.clone().unwrap_or_default();
    let mut views: BTreeMap<&str, &[String]> = fellows
        .iter()
        .filter_map(|(name, said)| Some((name.as_str(), said.view.as_deref()?)))
        .collect();
    views.insert(&session.name, &own);
    let reached = reachable(&session.name, &views);
    let mut notes = Notes::default();
    for name in here {
        let own = &session.name;
        let why_not = || format!("no chain of active views leads from {own} to {name}");
        notes.trial("in_overlay", &[], held(reached.contains(name), why_not));
    }
    performed(notes, &session.said())
}

fn reachable<'a>(from: &'a str, views: &BTreeMap<&'a str, &'a [String]>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        for name in views.get(at).copied().unwrap_or_default() {
            if reached.insert(name) {
                next.push(name);
            }
        }
    }
    reached
}

/// The stack has the message for it, but no call that sends it.
async fn leave(session: &Session, peer: &Peer) -> Result<Performed, Failure> {
    let goodbye = MembershipProtocolMessage::HyParView(HyParViewMessage::Disconnect);
    let frame = postcard::to_stdvec(&goodbye).unwrap_or_default();
    let (transport, view) = (
        peer.node.transport.clone(),
        peer.node.membership.active_view(),
    );
    let left = now_ms();
    peer.node
        .run(async move {
            for id in view {
                let sent =
                    transport.send_to_peer(id, GossipStreamType::Membership, frame.clone().into());
                match tokio::time::timeout(Duration::from_secs(2), sent).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!("goodbye to {id}: {error:#}"),
                    Err(_) => debug!("goodbye to {id}: not sent in time"),
                }
            }
        })
        .await?;
    // What was sent last has to get out before the connections close.
    sleep(Duration::from_millis(200)).await;
    session.close().await;
    session.said().left_ms = Some(left);
    Ok(performed(Notes::default(), &session.said()))
}

/// The same address, a new identity, no memory.
async fn come_back(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    if session.peer().is_none() {
        session.start(call).await?;
    }
    Ok(mesh::introduce(session))
}

/// Waits until everyone who is gone is taken to be gone. Who never knew of a peer
/// cannot miss it: there is no trial of it.
async fn noticed(
    session: &Session,
    peer: &Peer,
    call: &Perform,
    fault: Fault,
) -> Result<Performed, Failure> {
    let fellows = fellows(call);
    let called = now_ms();
    let gone: Vec<&String> = match fault {
        // What they said went with them.
        Fault::Crash => call.absent.iter().collect(),
        Fault::Leave => names_of(&fellows, |_, said| said.left_ms.is_some()),
        Fault::Partition => names_of(&fellows, |name, said| {
            said.is_here() && !is_absent(call, name) && are_separated(call, &session.name, name)
        }),
    };
    // When it began: as the leaver says; else after the step before had ended.
    let left = |name: &String| fellows.get(name).and_then(|said| said.left_ms);
    let known: Vec<(&String, f64)> = gone
        .into_iter()
        .map(|name| (name, left(name).unwrap_or_else(|| peer.watch.quiet_since())))
        .filter(|(name, since)| peer.watch.was_alive(name, *since))
        .collect();
    let until = Instant::now() + patience(call);
    while Instant::now() < until
        && known
            .iter()
            .any(|(name, since)| peer.watch.dead_after(name, *since).is_none())
    {
        sleep(LOOK).await;
    }
    let mut notes = Notes::default();
    let condition = [("fault", fault.name())];
    for (name, since) in known {
        let dead = peer.watch.dead_after(name, since);
        let dead = dead.ok_or_else(|| {
            let (state, after) = (peer.watch.state(name), now_ms() - since);
            format!("{name} is still {state:?} {after:.0} ms after it was gone")
        });
        if let Some(at) = notes.trial("detected", &condition, dead) {
            notes.sample("detect_ms", &condition, at - since);
        }
    }
    unsuspected(session, peer, call, &fellows, called, &mut notes);
    peer.watch.now_quiet();
    Ok(performed(notes, &session.said()))
}

fn names_of(
    fellows: &BTreeMap<String, Said>,
    is_meant: impl Fn(&str, &Said) -> bool,
) -> Vec<&String> {
    let meant = fellows.iter().filter(|(name, said)| is_meant(name, said));
    meant.map(|(name, _)| name).collect()
}

/// After a partition: whoever was on the other side is alive again, by the stack's
/// own doing. Nobody joins anew.
async fn heal(session: &Session, peer: &Peer, call: &Perform) -> Result<Performed, Failure> {
    let fellows = fellows(call);
    let since = peer.watch.quiet_since();
    let lost: Vec<&String> = fellows
        .iter()
        .filter(|(name, said)| said.is_here() && !is_absent(call, name))
        .map(|(name, _)| name)
        .filter(|name| peer.watch.was_lost(name, since))
        .collect();
    let until = Instant::now() + patience(call);
    while Instant::now() < until
        && lost
            .iter()
            .any(|name| peer.watch.state(name) != Some(PeerState::Alive))
    {
        sleep(LOOK).await;
    }
    let mut notes = Notes::default();
    for name in lost {
        let state = peer.watch.state(name);
        let back = held(state == Some(PeerState::Alive), || {
            let after = now_ms() - since;
            format!("{name} is {state:?} {after:.0} ms after the cut had ended")
        });
        let back = notes.trial("healed", &[], back);
        if let Some(at) = back.and_then(|()| peer.watch.alive_after(name, since)) {
            notes.sample("heal_ms", &[], at - since);
        }
    }
    Ok(performed(notes, &session.said()))
}

/// One trial for everyone that nothing was done to, and who was known: it was never
/// called suspect or dead since then.
fn unsuspected(
    session: &Session,
    peer: &Peer,
    call: &Perform,
    fellows: &BTreeMap<String, Said>,
    since: f64,
    notes: &mut Notes,
) {
    let well = fellows.iter().filter(|(name, said)| {
        said.is_here() && !is_absent(call, name) && !are_separated(call, &session.name, name)
    });
    for (name, _) in well.filter(|(name, _)| peer.watch.was_alive(name, since)) {
        let wrong = peer.watch.suspected_after(name, since);
        let why_not = || format!("{name} was called {wrong:?} with nothing done to it");
        notes.trial("unsuspected", &[], held(wrong.is_none(), why_not));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_followed_one_way() {
        let (a, b) = (vec!["b".to_owned()], vec!["c".to_owned()]);
        let views = BTreeMap::from([("a", a.as_slice()), ("b", b.as_slice())]);
        assert_eq!(reachable("a", &views), BTreeSet::from(["a", "b", "c"]));
        assert_eq!(reachable("c", &views), BTreeSet::from(["c"]));
    }
}
