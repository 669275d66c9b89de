//! What SWIM thought of every fellow, and since when.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use saorsa_gossip_membership::PeerState;
use saorsa_gossip_types::PeerId;

use crate::clock::now_ms;
use crate::node::Node;
use crate::said::Said;

/// SWIM itself looks twice a second.
const LOOK: Duration = Duration::from_millis(20);

pub struct Watch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    followed: BTreeMap<String, PeerId>,
    /// Each change of state, in the order of time.
    changes: HashMap<String, Vec<(f64, PeerState)>>,
    quiet_since: f64,
}

impl Watch {
    pub fn open(node: &Arc<Node>) -> Arc<Self> {
        let watch = Arc::new(Self(Mutex::default()));
        let (into, swim) = (watch.clone(), node.membership.swim_arc());
        node.spawn(async move {
            loop {
                let followed = into.seen().followed.clone();
                for (name, id) in followed {
                    if let Some(state) = swim.get_state(&id).await {
                        into.note(&name, now_ms(), state);
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        watch
    }

    /// From now on, these; one that came back is another peer.
    pub fn follow(&self, fellows: &BTreeMap<String, Said>) {
        let mut seen = self.seen();
        for (name, said) in fellows {
            let Some(id) = said.peer_id() else { continue };
            if seen.followed.insert(name.clone(), id) != Some(id) {
                seen.changes.remove(name);
            }
        }
    }

    /// A step begins in which nothing more is done to anybody.
    pub fn now_quiet(&self) {
        self.seen().quiet_since = now_ms();
    }

    pub fn quiet_since(&self) -> f64 {
        self.seen().quiet_since
    }

    pub fn state(&self, name: &str) -> Option<PeerState> {
        self.seen()
            .changes
            .get(name)?
            .last()
            .map(|(_, state)| *state)
    }

    pub fn was_alive(&self, name: &str, at: f64) -> bool {
        self.state_at(name, at) == Some(PeerState::Alive)
    }

    /// Dead, or on its way there, just now or at that time.
    pub fn was_lost(&self, name: &str, at: f64) -> bool {
        self.state_at(name, at)
            .is_some_and(|state| state != PeerState::Alive)
            || self
                .state(name)
                .is_some_and(|state| state != PeerState::Alive)
    }

    pub fn dead_after(&self, name: &str, since: f64) -> Option<f64> {
        self.first_after(name, since, |state| state == PeerState::Dead)
    }

    pub fn alive_after(&self, name: &str, since: f64) -> Option<f64> {
        self.first_after(name, since, |state| state == PeerState::Alive)
    }

    pub fn suspected_after(&self, name: &str, since: f64) -> Option<PeerState> {
        let seen = self.seen();
        let mut changes = seen.changes.get(name)?.iter();
        let worst = changes.find(|(at, state)| *at > since && *state != PeerState::Alive);
        worst.map(|(_, state)| *state)
    }

    fn first_after(&self, name: &str, since: f64, is: impl Fn(PeerState) -> bool) -> Option<f64> {
        let seen = self.seen();
        let mut changes = seen.changes.get(name)?.iter();
        let found = changes.find(|(at, state)| *at > since && is(*state))?;
        Some(found.0)
    }

    fn state_at(&self, name: &str, at: f64) -> Option<PeerState> {
        let seen = self.seen();
        let before = seen
            .changes
            .get(name)?
            .iter()
            .take_while(|(when, _)| *when <= at);
        before.last().map(|(_, state)| *state)
    }

    fn note(&self, name: &str, at: f64, state: PeerState) {
        let mut seen = self.seen();
        let changes = seen.changes.entry(name.to_owned()).or_default();
        if changes.last().is_none_or(|(_, last)| *last != state) {
            changes.push((at, state));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_by_their_times() {
        let watch = Watch(Mutex::default());
        let life = [
            (1.0, PeerState::Alive),
            (2.0, PeerState::Alive),
            (5.0, PeerState::Suspect),
            (8.0, PeerState::Dead),
            (9.0, PeerState::Alive),
        ];
        for (at, state) in life {
            watch.note("a", at, state);
        }
        assert!(watch.was_alive("a", 4.0) && !watch.was_alive("a", 5.5));
        assert_eq!(watch.dead_after("a", 4.0), Some(8.0));
        assert_eq!(watch.alive_after("a", 4.0), Some(9.0));
        assert_eq!(watch.suspected_after("a", 1.0), Some(PeerState::Suspect));
        assert_eq!(watch.suspected_after("a", 9.0), None);
        assert!(watch.was_lost("a", 8.5), "although it is back");
        assert!(!watch.was_alive("b", 4.0) && watch.state("b").is_none());
    }
}
