//! The table of peers: bounded, in memory, and without a clock of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::registration::{Heartbeat, Peer, Registration};
use serde::Deserialize;

/// More peers than the largest fleet carries, and at most some tens of megabytes.
pub const CAPACITY: usize = 4096;

/// A silent peer is kept for this many times its time to live, so that people
/// can see who is missing.
const KEPT_SILENT: u32 = 10;

/// Expiry goes by the monotonic clock, which nobody can set; what people read
/// goes by the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    monotonic: Instant,
    /// Unix milliseconds.
    pub unix_ms: i64,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            unix_ms: Timestamp::now().as_millisecond(),
        }
    }
}

/// Which peers to list; what is absent matches every peer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub project: Option<String>,
    pub node: Option<String>,
    pub alive: Option<bool>,
}

impl Filter {
    fn matches(&self, peer: &Peer) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        same(&self.project, &peer.registration.project)
            && same(&self.node, &peer.registration.node)
            && self.alive.is_none_or(|alive| alive == peer.alive)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    #[error("peer `{0}` is not registered here (any more): register again")]
    Unknown(String),
    #[error("{0} peers are alive, which is as many as this registry holds")]
    Full(usize),
}

/// Every peer by its name.
#[derive(Debug)]
pub struct Peers {
    ttl: Duration,
    capacity: usize,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    registration: Registration,
    registered_at: i64,
    last_seen: Moment,
    metrics: BTreeMap<String, f64>,
}

impl Peers {
    pub fn new(ttl: Duration, capacity: usize) -> Self {
        Self {
            ttl,
            capacity,
            entries: BTreeMap::new(),
        }
    }

    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Enters a peer and returns its name. The same process that registers again
    /// gets the same name, keeps its metrics and takes no more room.
    pub fn register(
        &mut self,
        registration: Registration,
        now: Moment,
    ) -> Result<String, PeersError> {
        let name = name(&registration);
        if let Some(entry) = self.entries.get_mut(&name)
            && entry.registration == registration
        {
            entry.last_seen = now;
            return Ok(name);
        }
        if !self.entries.contains_key(&name) {
            self.make_room(now)?;
        }
        let entry = Entry {
            registration,
            registered_at: now.unix_ms,
            last_seen: now,
            metrics: BTreeMap::new(),
        };
        self.entries.insert(name.clone(), entry);
        Ok(name)
    }

    /// The peer lives, and these are its values now; older ones are forgotten.
    pub fn heartbeat(&mut self, heartbeat: Heartbeat, now: Moment) -> Result<(), PeersError> {
        let Some(entry) = self.entries.get_mut(&heartbeat.peer) else {
            return Err(PeersError::Unknown(heartbeat.peer));
        };
        entry.last_seen = now;
        entry.metrics = heartbeat.metrics;
        Ok(())
    }

    /// Drops the peers that were silent for too long to be of interest.
    pub fn sweep(&mut self, now: Moment) {
        let kept = self.ttl * KEPT_SILENT;
        self.entries.retain(|_, entry| silence(entry, now) <= kept);
    }

    /// In order of their names.
    pub fn list(&self, filter: &Filter, now: Moment) -> Vec<Peer> {
        self.entries
            .iter()
            .map(|(name, entry)| self.peer(name, entry, now))
            .filter(|peer| filter.matches(peer))
            .collect()
    }

    fn peer(&self, name: &str, entry: &Entry, now: Moment) -> Peer {
        Peer {
            peer: name.to_owned(),
            registration: entry.registration.clone(),
            registered_at: entry.registered_at,
            last_seen: entry.last_seen.unix_ms,
            alive: self.is_alive(entry, now),
            metrics: entry.metrics.clone(),
        }
    }

    /// How many are alive, and how many are known.
    pub fn count(&self, now: Moment) -> (usize, usize) {
        let alive = |entry: &&Entry| self.is_alive(entry, now);
        (
            self.entries.values().filter(alive).count(),
            self.entries.len(),
        )
    }

    fn is_alive(&self, entry: &Entry, now: Moment) -> bool {
        silence(entry, now) <= self.ttl
    }

    /// A silent peer makes room for a new one; a live one does not.
    fn make_room(&mut self, now: Moment) -> Result<(), PeersError> {
        if self.entries.len() < self.capacity {
            return Ok(());
        }
        let longest_silent = self
            .entries
            .iter()
            .filter(|(_, entry)| !self.is_alive(entry, now))
            .max_by_key(|(_, entry)| silence(entry, now))
            .map(|(name, _)| name.clone());
        match longest_silent {
            Some(name) => {
                self.entries.remove(&name);
                Ok(())
            }
            None => Err(PeersError::Full(self.capacity)),
        }
    }
}

fn silence(entry: &Entry, now: Moment) -> Duration {
    now.monotonic
        .saturating_duration_since(entry.last_seen.monotonic)
}

/// Two processes never share it, and the parts cannot contain a `/`.
fn name(registration: &Registration) -> String {
    let Registration {
        project,
        node,
        tester,
        pid,
        ..
    } = registration;
    format!("{project}/{node}/{tester}/{pid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn registration(node: &str, pid: u32) -> Registration {
        Registration {
            project: "ant-quic".into(),
            node: node.into(),
            tester: "saorsa-quic-test".into(),
            stack_version: "0.27.61".into(),
            digest: "00".repeat(32),
            pid,
            local: None,
        }
    }

    fn heartbeat(peer: &str, attempts: f64) -> Heartbeat {
        Heartbeat {
            peer: peer.into(),
            metrics: BTreeMap::from([("attempts_total".into(), attempts)]),
        }
    }

    fn after(start: Moment, seconds: u64) -> Moment {
        Moment {
            monotonic: start.monotonic + Duration::from_secs(seconds),
            unix_ms: start.unix_ms + seconds as i64 * 1000,
        }
    }

    fn alive(peers: &Peers, now: Moment) -> Vec<bool> {
        let listed = peers.list(&Filter::default(), now);
        listed.iter().map(|peer| peer.alive).collect()
    }

    #[test]
    fn a_silent_peer_is_gone_after_its_time_and_dropped_later() {
        let start = Moment::now();
        let mut peers = Peers::new(TTL, 10);
        peers.register(registration("a", 1), start).unwrap();
        assert_eq!(alive(&peers, after(start, 30)), [true]);
        assert_eq!(alive(&peers, after(start, 31)), [false]);
        peers.sweep(after(start, 300));
        assert_eq!(peers.count(after(start, 300)), (0, 1));
        peers.sweep(after(start, 301));
        assert_eq!(peers.count(after(start, 301)), (0, 0));
    }

    #[test]
    fn a_heartbeat_revives_and_replaces_the_values() {
        let start = Moment::now();
        let mut peers = Peers::new(TTL, 10);
        let name = peers.register(registration("a", 1), start).unwrap();
        peers
            .heartbeat(heartbeat(&name, 7.0), after(start, 60))
            .unwrap();
        let listed = peers.list(&Filter::default(), after(start, 80));
        assert!(listed[0].alive);
        assert_eq!(listed[0].metrics["attempts_total"], 7.0);
        assert_eq!(listed[0].last_seen - listed[0].registered_at, 60_000);
    }

    #[test]
    fn an_unknown_peer_is_told_so() {
        let mut peers = Peers::new(TTL, 10);
        assert_eq!(
            peers.heartbeat(heartbeat("nobody", 0.0), Moment::now()),
            Err(PeersError::Unknown("nobody".into()))
        );
    }

    #[test]
    fn registering_again_takes_no_room_and_a_new_binary_starts_anew() {
        let start = Moment::now();
        let mut peers = Peers::new(TTL, 1);
        let name = peers.register(registration("a", 1), start).unwrap();
        peers.heartbeat(heartbeat(&name, 7.0), start).unwrap();
        assert_eq!(peers.register(registration("a", 1), start), Ok(name));
        let listed = peers.list(&Filter::default(), start);
        assert_eq!(listed[0].metrics.len(), 1);

        let mut other = registration("a", 1);
        other.digest = "11".repeat(32);
        peers.register(other, start).unwrap();
        let listed = peers.list(&Filter::default(), start);
        assert_eq!((listed.len(), listed[0].metrics.len()), (1, 0));
    }

    #[test]
    fn a_full_table_gives_up_the_silent_and_never_the_living() {
        let start = Moment::now();
        let mut peers = Peers::new(TTL, 2);
        peers.register(registration("a", 1), start).unwrap();
        peers
            .register(registration("b", 1), after(start, 20))
            .unwrap();
        assert_eq!(
            peers.register(registration("c", 1), after(start, 25)),
            Err(PeersError::Full(2))
        );
        peers
            .register(registration("c", 1), after(start, 40))
            .unwrap();
        let nodes: Vec<_> = peers
            .list(&Filter::default(), after(start, 40))
            .into_iter()
            .map(|peer| peer.registration.node)
            .collect();
        assert_eq!(nodes, ["b", "c"]);
    }

    #[test]
    fn filters_combine() {
        let start = Moment::now();
        let mut peers = Peers::new(TTL, 10);
        peers.register(registration("a", 1), start).unwrap();
        peers
            .register(registration("a", 2), after(start, 40))
            .unwrap();
        peers
            .register(registration("b", 1), after(start, 40))
            .unwrap();
        let count = |node: Option<&str>, alive| {
            let filter = Filter {
                project: Some("ant-quic".into()),
                node: node.map(str::to_owned),
                alive,
            };
            peers.list(&filter, after(start, 41)).len()
        };
        assert_eq!(count(None, None), 3);
        assert_eq!(count(Some("a"), None), 2);
        assert_eq!(count(Some("a"), Some(true)), 1);
        assert_eq!(count(None, Some(false)), 1);
    }
}
