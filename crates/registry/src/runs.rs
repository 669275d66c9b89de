//! Runs as their journals tell them: entries come in, are folded, and are kept
//! before anybody is told that they were accepted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::event::Entry;
use model::proof::{History, JournalMark, Proof, ProofError};
use model::publication::{News, Published, RunId, RunSummary};
use model::run::Run;

use crate::store::{RunRow, Store, StoreError};

/// Folded runs that are held in memory; others are folded again when they are
/// looked at.
const FOLDED_MAX: usize = 8;

const READ_AT_ONCE: u32 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("line {line} is no journal entry: {source}")]
    Malformed {
        line: usize,
        source: serde_json::Error,
    },
    #[error("entry {seq} is missing: send from there on")]
    Gap { seq: u64 },
    #[error("run `{run}` is another one: its entry {seq} is not the one that was sent")]
    Other { run: RunId, seq: u64 },
    #[error(transparent)]
    Illegal(#[from] ProofError),
    #[error("run `{run}` belongs to another fleet, or its plan names one")]
    Foreign { run: RunId },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run, folded.
#[derive(Clone)]
pub struct Folded {
    history: Arc<History>,
    pub summary: RunSummary,
    pub next_seq: u64,
}

impl Folded {
    pub fn run(&self) -> &Run {
        &self.history.run
    }

    /// The run as its proof would be if it ended now. `None` before its plan.
    pub fn proof(&self) -> Option<Proof> {
        let journal = JournalMark {
            entries: self.next_seq,
            head: String::new(),
        };
        self.history.proof(journal).ok()
    }
}

pub struct Runs {
    store: Store,
    /// The most recently used last.
    folded: Mutex<Vec<(RunId, Folded)>>,
    /// One publication at a time.
    publishing: Mutex<()>,
    kept: AtomicU64,
}

impl Runs {
    pub fn new(store: Store) -> Result<Self, StoreError> {
        Ok(Self {
            kept: AtomicU64::new(store.count()?),
            store,
            folded: Mutex::default(),
            publishing: Mutex::default(),
        })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many are kept.
    pub fn count(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    fn recount(&self) -> Result<(), StoreError> {
        self.kept.store(self.store.count()?, Ordering::Relaxed);
        Ok(())
    }

    /// Takes lines of a journal. Those that are here already must be the same;
    /// new ones are kept before this returns. Blocks on the disk.
    pub fn publish(
        &self,
        id: &RunId,
        fleet: &str,
        body: &str,
    ) -> Result<(Published, Vec<News>), PublishError> {
        let _one = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = body.lines().filter(|l| !l.trim().is_empty()).collect();
        let known = self.find(id)?;
        let foreign = || PublishError::Foreign { run: id.clone() };
        if known.as_ref().is_some_and(|k| k.summary.fleet != fleet) {
            return Err(foreign());
        }
        let had = known.as_ref().map_or(0, |k| k.next_seq);
        let entries = parse(&lines)?;
        let (mut history, mut next) = match known {
            Some(known) => (Arc::unwrap_or_clone(known.history), had),
            None => (History::default(), 0),
        };
        let first = entries.first().map_or(next, |entry| entry.seq);
        self.check_same(id, &lines, &entries, had)?;
        let (mut fresh, mut news, mut summary) = (Vec::new(), Vec::new(), None);
        for (entry, line) in entries.iter().zip(&lines).skip_while(|(e, _)| e.seq < had) {
            if entry.seq != next {
                return Err(PublishError::Gap { seq: next });
            }
            history.add(entry)?;
            next += 1;
            fresh.push(*line);
            summary = Some((entry.event.name(), entry.at));
            news.push(News::Entry {
                run: id.clone(),
                seq: entry.seq,
                event: entry.event.name().to_owned(),
                state: history.run.state,
            });
        }
        if first > had {
            return Err(PublishError::Gap { seq: had });
        }
        let Some((event, at)) = summary else {
            return Ok((Published { next_seq: had }, Vec::new()));
        };
        let summary = RunSummary::of(id, &history.run, event, at).ok_or_else(foreign)?;
        if summary.fleet != fleet || summary.project != id.project() {
            return Err(foreign());
        }
        let row = RunRow {
            next_seq: next,
            summary,
        };
        self.store.append(&row, had, &fresh)?;
        if had == 0 {
            self.store.trim()?;
            self.recount()?;
        }
        self.hold(
            id,
            Folded {
                history: Arc::new(history),
                summary: row.summary,
                next_seq: next,
            },
        );
        Ok((Published { next_seq: next }, news))
    }

    fn check_same(
        &self,
        id: &RunId,
        lines: &[&str],
        entries: &[Entry],
        had: u64,
    ) -> Result<(), PublishError> {
        let again: HashMap<u64, &str> = entries
            .iter()
            .zip(lines)
            .filter(|(entry, _)| entry.seq < had)
            .map(|(entry, line)| (entry.seq, *line))
            .collect();
        let Some(lowest) = again.keys().min().copied() else {
            return Ok(());
        };
        let limit = u32::try_from(had - lowest).unwrap_or(u32::MAX);
        let kept = self.store.entries(id, lowest, limit)?;
        for (seq, kept) in (lowest..).zip(kept) {
            if again
                .get(&seq)
                .is_some_and(|line| line.trim() != kept.trim())
            {
                return Err(PublishError::Other {
                    run: id.clone(),
                    seq,
                });
            }
        }
        Ok(())
    }

    /// A run, folded. Blocks on the disk where it is not in memory.
    pub fn find(&self, id: &RunId) -> Result<Option<Folded>, StoreError> {
        if let Some(found) = self.held(id) {
            return Ok(Some(found));
        }
        let Some(row) = self.store.run(id)? else {
            return Ok(None);
        };
        let mut history = History::default();
        let mut next = 0;
        loop {
            let lines = self.store.entries(id, next, READ_AT_ONCE)?;
            if lines.is_empty() {
                break;
            }
            for line in &lines {
                let entry: Entry = serde_json::from_str(line)?;
                // It was accepted once; a newer rule may refuse what an older took.
                if let Err(error) = history.add(&entry) {
                    tracing::warn!(run = %id, seq = entry.seq, "not folded: {error}");
                }
                next += 1;
            }
        }
        let folded = Folded {
            history: Arc::new(history),
            summary: row.summary,
            next_seq: row.next_seq,
        };
        self.hold(id, folded.clone());
        Ok(Some(folded))
    }

    pub fn remove(&self, id: &RunId) -> Result<bool, StoreError> {
        let _one = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let there = self.store.run(id)?.is_some();
        self.store.remove(id)?;
        self.recount()?;
        self.lock().retain(|(held, _)| held != id);
        Ok(there)
    }

    fn held(&self, id: &RunId) -> Option<Folded> {
        let mut folded = self.lock();
        let at = folded.iter().position(|(held, _)| held == id)?;
        let found = folded.remove(at);
        let copy = found.1.clone();
        folded.push(found);
        Some(copy)
    }

    fn hold(&self, id: &RunId, run: Folded) {
        let mut folded = self.lock();
        folded.retain(|(held, _)| held != id);
        if folded.len() >= FOLDED_MAX {
            folded.remove(0);
        }
        folded.push((id.clone(), run));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(RunId, Folded)>> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(lines: &[&str]) -> Result<Vec<Entry>, PublishError> {
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| PublishError::Malformed {
                line: index + 1,
                source,
            })
        })
        .collect()
}
