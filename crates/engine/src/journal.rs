//! The run's append-only event log: the single source of truth.
//!
//! One JSON object a line, synced before anybody hears of it. Each carries the
//! digest of the one before. A torn last line (a crash in the middle of a write)
//! is cut off; anything else that does not read or does not follow is corruption.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::event::{Entry, Event};
use model::payload::sha256_hex;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {action} the journal `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{path}` line {line}: {detail}")]
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
    /// What the next entry follows on.
    head: String,
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
            head: link(b""),
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
        let Examined {
            entries,
            intact,
            head,
            ..
        } = read_intact(path)?;
        file.set_len(intact).map_err(io("repair"))?;
        file.seek(SeekFrom::End(0)).map_err(io("open"))?;
        let next_seq = entries.len() as u64;
        Ok((
            Self {
                path: path.into(),
                file,
                next_seq,
                head,
                length: intact,
                is_broken: false,
            },
            entries,
        ))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes and syncs one event.
    pub fn append(&mut self, at: Timestamp, event: Event) -> Result<Entry, JournalError> {
        let entry = Entry {
            seq: self.next_seq,
            prev: self.head.clone(),
            at,
            event,
        };
        let mut line = serde_json::to_vec(&entry).map_err(|e| JournalError::Io {
            action: "encode for",
            path: self.path.clone(),
            source: e.into(),
        })?;
        let head = link(&line);
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
        self.head = head;
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
    Ok(read_intact(path)?.entries)
}

/// A file's bytes, read as a journal: everything that reads, and what is wrong.
#[derive(Debug, Default)]
pub struct Examined {
    pub entries: Vec<Entry>,
    /// By line, counted from 1.
    pub problems: Vec<(usize, String)>,
    /// SHA-256 of the last whole line.
    pub head: String,
    /// Bytes of whole lines; what follows is a write that never finished, so
    /// nobody acted on it.
    intact: u64,
    pub torn: bool,
}

/// Follows the chain and goes on after a break, so that every one is named.
pub fn examine(text: &[u8]) -> Examined {
    let mut seen = Examined {
        head: link(b""),
        ..Examined::default()
    };
    let mut due = 0;
    for (index, whole) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(line) = whole.strip_suffix(b"\n") else {
            seen.torn = true;
            break;
        };
        let number = index + 1;
        match serde_json::from_slice::<Entry>(line) {
            Ok(entry) => {
                if let Some(problem) = misfit(&entry, due, &seen.head, number) {
                    seen.problems.push((number, problem));
                }
                due = entry.seq + 1;
                seen.entries.push(entry);
            }
            Err(error) => {
                seen.problems
                    .push((number, format!("not a journal entry: {error}")));
                due += 1;
            }
        }
        seen.head = link(line);
        seen.intact += whole.len() as u64;
    }
    seen
}

/// How an entry does not follow on the line before it.
fn misfit(entry: &Entry, due: u64, head: &str, number: usize) -> Option<String> {
    if entry.seq != due {
        return Some(format!(
            "entry {} where {due} is due: lines are missing before it, or were moved",
            entry.seq
        ));
    }
    (entry.prev != head).then(|| {
        if number == 1 {
            "the first line is chained to another".into()
        } else {
            let before = number - 1;
            format!("line {before} is not the one that line {number} followed on: one of the two was changed")
        }
    })
}

/// What a line is called by the next one.
fn link(line: &[u8]) -> String {
    sha256_hex(line)
}

pub fn read_intact(path: &Path) -> Result<Examined, JournalError> {
    let text = std::fs::read(path).map_err(|source| JournalError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    let examined = examine(&text);
    match examined.problems.first() {
        None => Ok(examined),
        Some((line, detail)) => Err(JournalError::Corrupt {
            path: path.into(),
            line: *line,
            detail: detail.clone(),
        }),
    }
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
            error.contains("journal.jsonl` line 1: not a journal entry"),
            "{error}"
        );
    }

    fn three() -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        for detail in ["one", "two", "three"] {
            journal
                .append(Timestamp::UNIX_EPOCH, finding(detail))
                .unwrap();
        }
        std::fs::read_to_string(path).unwrap()
    }

    fn problems(text: &str) -> Vec<(usize, String)> {
        examine(text.as_bytes()).problems
    }

    #[test]
    fn a_chain_goes_on_where_a_journal_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        std::fs::write(&path, three()).unwrap();
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal
            .append(Timestamp::UNIX_EPOCH, finding("four"))
            .unwrap();
        assert_eq!(read(&path).unwrap().len(), 4);
    }

    #[test]
    fn a_line_that_was_changed_is_named_by_number() {
        let changed = three().replace("\"one\"", "\"won\"");
        let found = problems(&changed);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, 2);
        assert!(
            found[0]
                .1
                .contains("line 1 is not the one that line 2 followed on"),
            "{found:?}"
        );
    }

    #[test]
    fn a_line_that_was_taken_out_is_named_even_when_the_rest_was_renumbered() {
        let text = three();
        let lines: Vec<&str> = text.lines().collect();
        let gap = problems(&format!("{}\n{}\n", lines[0], lines[2]));
        assert!(gap[0].1.contains("entry 2 where 1 is due"), "{gap:?}");
        let renumbered = lines[2].replace("\"seq\":2", "\"seq\":1");
        let broken = problems(&format!("{}\n{renumbered}\n", lines[0]));
        assert_eq!(broken[0].0, 2);
        assert!(broken[0].1.contains("followed on"), "{broken:?}");
    }

    #[test]
    fn a_journal_that_begins_in_the_middle_is_no_journal() {
        let text = three();
        let rest = text.split_once('\n').unwrap().1;
        assert!(problems(rest)[0].1.contains("entry 1 where 0 is due"));
        let renumbered = rest
            .replace("\"seq\":1", "\"seq\":0")
            .replace("\"seq\":2", "\"seq\":1");
        assert!(
            problems(&renumbered)[0]
                .1
                .contains("first line is chained to another")
        );
    }
}
