//! The table of peers: bounded, in memory, and without a clock of its own. What
//! changed is handed out to be written to the disk behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::registration::{Heartbeat, Peer, Registration};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::store::PeerRow;

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

/// Entries of one answer.
const LIMIT_MAX: u32 = 1000;

/// Lines of log that are kept of each peer.
const LOG_KEPT: usize = 200;

/// Which peers to list; what is absent matches every peer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub project: Option<String>,
    pub node: Option<String>,
    /// `none`, a classic name (`full-cone`, `symmetric`, …) or a behaviour (`EIM/APDF`).
    pub nat: Option<String>,
    pub alive: Option<bool>,
    /// At most so many, 1 to 1000; 1000 if absent.
    pub limit: Option<u32>,
    /// Those that follow this peer: the `next` of the answer before.
    pub after: Option<String>,
}

/// The NAT of each node, by fleet and node, as the newest run measured it.
pub type Nats = BTreeMap<(String, String), String>;

impl Filter {
    fn matches(&self, peer: &Peer) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        same(&self.project, &peer.registration.project)
            && same(&self.node, &peer.registration.node)
            && self.alive.is_none_or(|alive| alive == peer.alive)
            && self.nat.as_deref().is_none_or(|nat| is_nat(peer, nat))
    }
}

/// `Full Cone (EIM/EIF)` is `full-cone`, `EIM/EIF` and the whole of it.
fn is_nat(peer: &Peer, wanted: &str) -> bool {
    let plain = |text: &str| text.trim().to_lowercase().replace(' ', "-");
    let Some(is) = &peer.nat else { return false };
    let (name, behaviour) = is.split_once(" (").unwrap_or((is, is));
    let wanted = plain(wanted);
    [is, name, behaviour.trim_end_matches(')')]
        .iter()
        .any(|form| plain(form) == wanted)
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    #[error("peer `{0}` is not registered here (any more): register again")]
    Unknown(String),
    #[error("peer `{0}` is not the token's own")]
    Foreign(String),
    #[error("{0} peers are alive, which is as many as this registry holds")]
    Full(usize),
}

/// Every peer by its name.
#[derive(Debug)]
pub struct Peers {
    ttl: Duration,
    capacity: usize,
    entries: BTreeMap<String, Entry>,
    /// Not on the disk yet as they are.
    changed: BTreeSet<String>,
    /// On the disk and not here any more.
    gone: BTreeSet<String>,
    /// Who was alive when somebody was last told.
    told_alive: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    fleet: String,
    registration: Registration,
    registered_at: i64,
    last_seen: Moment,
    metrics: BTreeMap<String, f64>,
    log: VecDeque<String>,
}

/// What a node's health is made of.
pub struct Seen<'a> {
    pub node: &'a str,
    pub alive: bool,
    pub last_seen: i64,
    pub metrics: &'a BTreeMap<String, f64>,
}

/// Whose token it is that a peer writes with.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub fleet: &'a str,
    pub node: Option<&'a str>,
}

impl Owner<'_> {
    fn owns(&self, fleet: &str, registration: &Registration) -> bool {
        self.fleet == fleet && self.node.is_none_or(|node| registration.node == node)
    }
}

impl Peers {
    pub fn new(ttl: Duration, capacity: usize) -> Self {
        Self {
            ttl,
            capacity,
            entries: BTreeMap::new(),
            changed: BTreeSet::new(),
            gone: BTreeSet::new(),
            told_alive: BTreeSet::new(),
        }
    }

    /// Peers of before a restart: as silent as they are by the wall clock.
    pub fn restore(&mut self, rows: Vec<PeerRow>, now: Moment) {
        for row in rows.into_iter().take(self.capacity) {
            let silent = u64::try_from(now.unix_ms - row.seen_ms).unwrap_or(0);
            let seen = now.monotonic.checked_sub(Duration::from_millis(silent));
            let entry = Entry {
                fleet: row.fleet,
                registration: row.registration,
                registered_at: row.registered_ms,
                last_seen: Moment {
                    // Before this machine began is long enough ago.
                    monotonic: seen.unwrap_or(now.monotonic),
                    unix_ms: row.seen_ms,
                },
                metrics: BTreeMap::new(),
                log: VecDeque::new(),
            };
            if seen.is_some() {
                self.entries.insert(row.peer, entry);
            } else {
                self.gone.insert(row.peer);
            }
        }
    }

    /// What the disk does not have yet.
    pub fn unwritten(&mut self) -> (Vec<PeerRow>, Vec<String>) {
        let changed = std::mem::take(&mut self.changed);
        let rows = changed.into_iter().filter_map(|peer| {
            let entry = self.entries.get(&peer)?;
            Some(PeerRow {
                fleet: entry.fleet.clone(),
                registration: entry.registration.clone(),
                registered_ms: entry.registered_at,
                seen_ms: entry.last_seen.unix_ms,
                peer,
            })
        });
        (
            rows.collect(),
            std::mem::take(&mut self.gone).into_iter().collect(),
        )
    }

    /// Who came or fell silent since this was last asked: peer, fleet, node, alive.
    pub fn turned(&mut self, now: Moment) -> Vec<(String, String, String, bool)> {
        let alive: BTreeSet<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| self.is_alive(entry, now))
            .map(|(name, _)| name.clone())
            .collect();
        let turned = alive
            .symmetric_difference(&self.told_alive)
            .filter_map(|name| {
                let entry = self.entries.get(name)?;
                let node = entry.registration.node.clone();
                let is = alive.contains(name);
                Some((name.clone(), entry.fleet.clone(), node, is))
            })
            .collect();
        self.told_alive = alive;
        turned
    }

    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Enters a peer and returns its name. The same process that registers again
    /// gets the same name, keeps its metrics and takes no more room.
    pub fn register(
        &mut self,
        owner: Owner<'_>,
        registration: Registration,
        now: Moment,
    ) -> Result<String, PeersError> {
        let name = name(&registration);
        if !owner.owns(owner.fleet, &registration)
            || self
                .entries
                .get(&name)
                .is_some_and(|entry| entry.fleet != owner.fleet)
        {
            return Err(PeersError::Foreign(name));
        }
        self.changed.insert(name.clone());
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
            fleet: owner.fleet.to_owned(),
            registration,
            registered_at: now.unix_ms,
            last_seen: now,
            metrics: BTreeMap::new(),
            log: VecDeque::new(),
        };
        self.gone.remove(&name);
        self.entries.insert(name.clone(), entry);
        Ok(name)
    }

    /// The peer lives, and these are its values now; older ones are forgotten.
    pub fn heartbeat(
        &mut self,
        owner: Owner<'_>,
        heartbeat: Heartbeat,
        now: Moment,
    ) -> Result<(), PeersError> {
        let Some(entry) = self.entries.get_mut(&heartbeat.peer) else {
            return Err(PeersError::Unknown(heartbeat.peer));
        };
        if !owner.owns(&entry.fleet, &entry.registration) {
            return Err(PeersError::Foreign(heartbeat.peer));
        }
        entry.last_seen = now;
        entry.metrics = heartbeat.metrics;
        entry.log.extend(heartbeat.log);
        while entry.log.len() > LOG_KEPT {
            entry.log.pop_front();
        }
        self.changed.insert(heartbeat.peer);
        Ok(())
    }

    /// What a peer logged last, oldest line first.
    pub fn log(&self, peer: &str) -> Vec<String> {
        self.entries
            .get(peer)
            .map(|entry| entry.log.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Drops the peers that were silent for too long to be of interest.
    pub fn sweep(&mut self, now: Moment) {
        let kept = self.ttl * KEPT_SILENT;
        let gone = &mut self.gone;
        self.entries.retain(|name, entry| {
            let stays = silence(entry, now) <= kept;
            if !stays {
                gone.insert(name.clone());
            }
            stays
        });
    }

    /// In order of their names; `fleet` sees its own alone.
    pub fn list(
        &self,
        fleet: Option<&str>,
        filter: &Filter,
        nats: &Nats,
        now: Moment,
    ) -> (Vec<Peer>, Option<String>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let limit = filter.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX) as usize;
        let from = filter.after.as_deref().map_or(Unbounded, Excluded);
        let mut found = self
            .entries
            .range::<str, _>((from, Unbounded))
            .filter(|(_, entry)| fleet.is_none_or(|fleet| entry.fleet == fleet))
            .map(|(name, entry)| self.peer(name, entry, nats, now))
            .filter(|peer| filter.matches(peer));
        let page: Vec<Peer> = found.by_ref().take(limit).collect();
        let next = match (found.next(), page.last()) {
            (Some(_), Some(last)) => Some(last.peer.clone()),
            _ => None,
        };
        (page, next)
    }

    /// All of them.
    pub fn all(&self, fleet: Option<&str>, nats: &Nats, now: Moment) -> Vec<Peer> {
        self.entries
            .iter()
            .filter(|(_, entry)| fleet.is_none_or(|fleet| entry.fleet == fleet))
            .map(|(name, entry)| self.peer(name, entry, nats, now))
            .collect()
    }

    /// Those of one node.
    pub fn of_node(&self, fleet: Option<&str>, node: &str, nats: &Nats, now: Moment) -> Vec<Peer> {
        self.entries
            .iter()
            .filter(|(_, entry)| fleet.is_none_or(|fleet| entry.fleet == fleet))
            .filter(|(_, entry)| entry.registration.node == node)
            .map(|(name, entry)| self.peer(name, entry, nats, now))
            .collect()
    }

    /// Each of them, and no copy: there may be thousands, and heartbeats wait meanwhile.
    pub fn visit(&self, fleet: Option<&str>, now: Moment, mut look: impl FnMut(Seen<'_>)) {
        for entry in self.entries.values() {
            if fleet.is_none_or(|fleet| entry.fleet == fleet) {
                look(Seen {
                    node: &entry.registration.node,
                    alive: self.is_alive(entry, now),
                    last_seen: entry.last_seen.unix_ms,
                    metrics: &entry.metrics,
                });
            }
        }
    }

    fn peer(&self, name: &str, entry: &Entry, nats: &Nats, now: Moment) -> Peer {
        let node = (entry.fleet.clone(), entry.registration.node.clone());
        Peer {
            peer: name.to_owned(),
            fleet: entry.fleet.clone(),
            registration: entry.registration.clone(),
            nat: nats.get(&node).cloned(),
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
                self.gone.insert(name);
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
mod tests;
