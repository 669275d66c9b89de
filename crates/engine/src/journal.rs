//! The run's append-only event log: the single source of truth.
//!
//! One JSON object a line, synced before anybody hears of it. A torn last line
//! (a crash in the middle of a write) is cut off; anything else that does not
//! read is corruption.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::event::{Entry, Event};

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {action} the journal `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{path}` line {line} is not a journal entry: {detail}")]
    Corrupt {
        path: PathBuf,
        line: usize,
        detail: String,
    },
    #[error("another vps-test writes to the journal `{path}`; stop it, or wait until it ends")]
    Held { path: PathBuf },
}

#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Locked for as long as this value lives: a run has one writer.
    file: File,
    next_seq: u64,
    /// Of what is written and synced.
    length: u64,
    /// An append failed: what follows would stand behind a torn line.
    is_broken: bool,
}

impl Journal {
    /// A new journal; the file must not exist.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(|source| JournalError::Io {
                action: "create",
                path: path.into(),
                source,
            })?;
        hold(&file, path)?;
        Ok(Self {
            path: path.into(),
            file,
            next_seq: 0,
            length: 0,
            is_broken: false,
        })
    }

    /// An existing journal, ready to go on, and all of its entries.
    pub fn open(path: &Path) -> Result<(Self, Vec<Entry>), JournalError> {
        let io = |action| {
            move |source| JournalError::Io {
                action,
                path: path.into(),
                source,
            }
        };
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(io("open"))?;
        hold(&file, path)?;
        let (entries, intact) = read_with_length(path)?;
        file.set_len(intact).map_err(io("repair"))?;
        file.seek(SeekFrom::End(0)).map_err(io("open"))?;
        let next_seq = entries.len() as u64;
        Ok((
            Self {
                path: path.into(),
                file,
                next_seq,
                length: intact,
                is_broken: false,
            },
            entries,
        ))
    }

    /// Writes and syncs one event.
    pub fn append(&mut self, at: Timestamp, event: Event) -> Result<Entry, JournalError> {
        let entry = Entry {
            seq: self.next_seq,
            at,
            event,
        };
        let mut line = serde_json::to_vec(&entry).map_err(|e| JournalError::Io {
            action: "encode for",
            path: self.path.clone(),
            source: e.into(),
        })?;
        line.push(b'\n');
        let io = |source| JournalError::Io {
            action: "append to",
            path: self.path.clone(),
            source,
        };
        if self.is_broken {
            return Err(io(std::io::Error::other("an earlier entry is missing")));
        }
        let written = self
            .file
            .write_all(&line)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.is_broken = true;
            // Best effort: a torn last line is understood as well.
            let _ = self.file.set_len(self.length);
            return Err(io(error));
        }
        self.length += line.len() as u64;
        self.next_seq += 1;
        Ok(entry)
    }
}

fn hold(file: &File, path: &Path) -> Result<(), JournalError> {
    use std::fs::TryLockError;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => JournalError::Held { path: path.into() },
        TryLockError::Error(source) => JournalError::Io {
            action: "lock",
            path: path.into(),
            source,
        },
    })
}

/// All entries of a journal, without opening it for writing.
pub fn read(path: &Path) -> Result<Vec<Entry>, JournalError> {
    Ok(read_with_length(path)?.0)
}

fn read_with_length(path: &Path) -> Result<(Vec<Entry>, u64), JournalError> {
    let text = std::fs::read(path).map_err(|source| JournalError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    let mut entries = Vec::new();
    let mut intact = 0;
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if !line.ends_with(b"\n") {
            break; // torn: the write never finished, so nobody acted on it
        }
        let corrupt = |detail: String| JournalError::Corrupt {
            path: path.into(),
            line: index + 1,
            detail,
        };
        let entry: Entry = serde_json::from_slice(line).map_err(|e| corrupt(e.to_string()))?;
        if entry.seq != entries.len() as u64 {
            return Err(corrupt(format!(
                "entry {} where {} is due",
                entry.seq,
                entries.len()
            )));
        }
        entries.push(entry);
        intact += line.len() as u64;
    }
    Ok((entries, intact))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(detail: &str) -> Event {
        Event::Finding {
            detail: detail.into(),
        }
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        journal
            .append(Timestamp::UNIX_EPOCH, finding("one"))
            .unwrap();
        journal
            .append(Timestamp::UNIX_EPOCH, finding("two"))
            .unwrap();
        let events: Vec<_> = read(&path).unwrap().into_iter().map(|e| e.event).collect();
        assert_eq!(events, [finding("one"), finding("two")]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        Journal::create(&path)
            .unwrap()
            .append(Timestamp::UNIX_EPOCH, finding("one"))
            .unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"seq\":1,\"at\":\"19");
        std::fs::write(&path, &text).unwrap();

        let (mut journal, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries.len(), 1);
        journal
            .append(Timestamp::UNIX_EPOCH, finding("two"))
            .unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_journal_has_one_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let first = Journal::create(&path).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Held { .. }), "{error}");
        drop(first);
        assert!(Journal::open(&path).is_ok());
    }

    #[test]
    fn earlier_corruption_names_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        journal
            .append(Timestamp::UNIX_EPOCH, finding("one"))
            .unwrap();
        journal
            .append(Timestamp::UNIX_EPOCH, finding("two"))
            .unwrap();
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replacen("finding", "fin\"ding", 1);
        std::fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains("journal.jsonl` line 1 is not a journal entry"),
            "{error}"
        );
    }
}
