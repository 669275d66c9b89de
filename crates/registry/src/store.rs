//! What survives: runs' entries, people's decisions and the peers, in one SQLite file
//! in WAL mode.
//!
//! An entry is acknowledged after its transaction is on the disk
//! (`synchronous=FULL`). Peers are written behind, a few seconds late: one that
//! is forgotten registers again.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::publication::{Decided, RunId, RunSummary};
use model::registration::Registration;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Oldest runs beyond these are dropped, finished ones first.
pub const RUNS_KEPT: u32 = 500;

const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, fleet TEXT NOT NULL, project TEXT NOT NULL,
  started_ms INTEGER NOT NULL, next_seq INTEGER NOT NULL, summary TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS runs_by_time ON runs (started_ms);
CREATE TABLE IF NOT EXISTS entries (
  run TEXT NOT NULL, seq INTEGER NOT NULL, entry TEXT NOT NULL,
  PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
  run TEXT PRIMARY KEY, decided TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peers (
  peer TEXT PRIMARY KEY, fleet TEXT NOT NULL, registration TEXT NOT NULL,
  registered_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL) WITHOUT ROWID;
";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the database holds what does not read: {0}")]
    Shape(#[from] serde_json::Error),
    #[error(
        "the database has version {found}, and this registry knows version {SCHEMA_VERSION}: \
         start it with another --data directory"
    )]
    Version { found: i64 },
}

/// A run's row.
#[derive(Debug, Clone)]
pub struct RunRow {
    pub next_seq: u64,
    pub summary: RunSummary,
}

/// A peer as it was when the registry ended.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerRow {
    pub peer: String,
    pub fleet: String,
    pub registration: Registration,
    pub registered_ms: i64,
    pub seen_ms: i64,
}

pub struct Store(Mutex<Connection>);

impl Store {
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        Self::prepare(Connection::open(file)?)
    }

    /// Gone with the process.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn prepare(connection: Connection) -> Result<Self, StoreError> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != 0 && found != SCHEMA_VERSION {
            return Err(StoreError::Version { found });
        }
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that panicked was rolled back when it was dropped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps entries `next_seq - lines.len() ..` and the run's summary, or nothing.
    pub fn append(
        &self,
        row: &RunRow,
        first: u64,
        lines: &[impl AsRef<str>],
    ) -> Result<(), StoreError> {
        let summary = serde_json::to_string(&row.summary)?;
        let started = row.summary.started_at.map_or(0, |at| at.as_millisecond());
        let run = row.summary.run.as_str();
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        {
            let mut insert =
                transaction.prepare("INSERT INTO entries (run, seq, entry) VALUES (?1, ?2, ?3)")?;
            for (seq, line) in (first..).zip(lines) {
                insert.execute(params![run, seq as i64, line.as_ref()])?;
            }
            transaction.execute(
                "INSERT INTO runs (run, fleet, project, started_ms, next_seq, summary)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (run) DO UPDATE SET next_seq = ?5, summary = ?6",
                params![
                    run,
                    row.summary.fleet,
                    row.summary.project,
                    started,
                    row.next_seq as i64,
                    summary
                ],
            )?;
        }
        Ok(transaction.commit()?)
    }

    pub fn run(&self, run: &RunId) -> Result<Option<RunRow>, StoreError> {
        let found = self
            .connection()
            .query_row(
                "SELECT next_seq, summary FROM runs WHERE run = ?1",
                [run.as_str()],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
            )
            .optional()?;
        found
            .map(|(next_seq, summary)| {
                Ok(RunRow {
                    next_seq: next_seq as u64,
                    summary: serde_json::from_str(&summary)?,
                })
            })
            .transpose()
    }

    /// The journal's lines from `from` on, at most `limit`.
    pub fn entries(&self, run: &RunId, from: u64, limit: u32) -> Result<Vec<String>, StoreError> {
        let connection = self.connection();
        let mut select = connection.prepare(
            "SELECT entry FROM entries WHERE run = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
        )?;
        let rows = select.query_map(params![run.as_str(), from as i64, limit], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest first; those that began before `before` (milliseconds, name).
    pub fn runs(
        &self,
        fleet: Option<&str>,
        project: Option<&str>,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<(i64, RunSummary)>, StoreError> {
        let connection = self.connection();
        let mut select = connection.prepare(
            "SELECT started_ms, summary FROM runs
             WHERE (?1 IS NULL OR fleet = ?1) AND (?2 IS NULL OR project = ?2)
               AND (?3 IS NULL OR (started_ms, run) < (?3, ?4))
             ORDER BY started_ms DESC, run DESC LIMIT ?5",
        )?;
        let (before_ms, before_run) = before.unzip();
        let rows = select.query_map(
            params![fleet, project, before_ms, before_run, limit],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )?;
        rows.map(|row| {
            let (started, summary) = row?;
            Ok((started, serde_json::from_str(&summary)?))
        })
        .collect()
    }

    pub fn remove(&self, run: &RunId) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM entries WHERE run = ?1", [run.as_str()])?;
        transaction.execute("DELETE FROM decisions WHERE run = ?1", [run.as_str()])?;
        transaction.execute("DELETE FROM runs WHERE run = ?1", [run.as_str()])?;
        Ok(transaction.commit()?)
    }

    /// Keeps the first word on a run. `false` where there is one already.
    pub fn keep_decision(&self, run: &RunId, decided: &Decided) -> Result<bool, StoreError> {
        let text = serde_json::to_string(decided)?;
        let rows = self.connection().execute(
            "INSERT OR IGNORE INTO decisions (run, decided) VALUES (?1, ?2)",
            [run.as_str(), &text],
        )?;
        Ok(rows == 1)
    }

    pub fn decision(&self, run: &RunId) -> Result<Option<Decided>, StoreError> {
        let found: Option<String> = self
            .connection()
            .query_row(
                "SELECT decided FROM decisions WHERE run = ?1",
                [run.as_str()],
                |row| row.get(0),
            )
            .optional()?;
        Ok(found.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// Drops the oldest runs beyond [`RUNS_KEPT`].
    pub fn trim(&self) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute(
            "DELETE FROM runs WHERE run IN
             (SELECT run FROM runs ORDER BY started_ms DESC LIMIT -1 OFFSET ?1)",
            [RUNS_KEPT],
        )?;
        if transaction.changes() > 0 {
            transaction.execute_batch(
                "DELETE FROM entries WHERE run NOT IN (SELECT run FROM runs);
                 DELETE FROM decisions WHERE run NOT IN (SELECT run FROM runs);",
            )?;
        }
        Ok(transaction.commit()?)
    }

    /// Writes these peers, and forgets those.
    pub fn keep_peers(&self, changed: &[PeerRow], gone: &[String]) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        {
            let mut write = transaction.prepare(
                "INSERT OR REPLACE INTO peers (peer, fleet, registration, registered_ms, seen_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for row in changed {
                let registration = serde_json::to_string(&row.registration)?;
                write.execute(params![
                    row.peer,
                    row.fleet,
                    registration,
                    row.registered_ms,
                    row.seen_ms
                ])?;
            }
            let mut forget = transaction.prepare("DELETE FROM peers WHERE peer = ?1")?;
            for peer in gone {
                forget.execute([peer])?;
            }
        }
        Ok(transaction.commit()?)
    }

    pub fn peers(&self) -> Result<Vec<PeerRow>, StoreError> {
        let connection = self.connection();
        let mut select = connection.prepare(
            "SELECT peer, fleet, registration, registered_ms, seen_ms FROM peers ORDER BY peer",
        )?;
        let rows = select.query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, i64>(3)?,
                row.get::<_, i64>(4)?,
            ))
        })?;
        rows.map(|row| {
            let (peer, fleet, registration, registered_ms, seen_ms) = row?;
            Ok(PeerRow {
                peer,
                fleet,
                registration: serde_json::from_str(&registration)?,
                registered_ms,
                seen_ms,
            })
        })
        .collect()
    }

    /// How many runs there are.
    pub fn count(&self) -> Result<u64, StoreError> {
        let count: i64 = self
            .connection()
            .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))?;
        Ok(count as u64)
    }

    /// Bytes that the database takes.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        let size: i64 = self.connection().query_row(
            "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            [],
            |row| row.get(0),
        )?;
        Ok(size as u64)
    }
}
