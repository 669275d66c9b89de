//! Publishing a run to its registry: the journal is followed as it grows, and its
//! new lines are posted through the registry's host.
//!
//! The journal is the queue: it is on the disk, so nothing has to be dropped when
//! the registry is slow or away, and a run that is resumed, or published again,
//! goes on where the registry says that it is. The run never waits for this, and
//! its verdict never depends on it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::publication::{Published, RunId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::recorder::{Progress, Recorder};
use crate::registry::Registry;

const LOOK_EVERY: Duration = Duration::from_millis(400);
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What is left when the run is over gets so long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Well below what the registry takes at once.
const PIECE_BYTES: usize = 1024 * 1024;

pub struct Publisher {
    over: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// `None` where the run's directory has no name that the registry could show.
    pub fn spawn(registry: Arc<Registry>, recorder: &Recorder) -> Option<Self> {
        let follower = Follower::new(registry, recorder.journal_path())?;
        let (over, is_over) = watch::channel(false);
        let recorder = recorder.clone();
        let task = tokio::spawn(follow(follower, recorder, is_over));
        Some(Self { over, task })
    }

    /// Publishes what is left, for a moment.
    pub async fn finish(mut self) {
        self.over.send_replace(true);
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.task).await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `PROJECT/TIME` of `…/PROJECT/TIME/journal.jsonl`.
fn run_id(journal: &Path) -> Option<RunId> {
    let dir = journal.parent()?;
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    RunId::new(&name(dir.parent()?)?, &name(dir)?)
}

async fn follow(mut follower: Follower, recorder: Recorder, mut over: watch::Receiver<bool>) {
    let mut told = false;
    loop {
        // Looked at before reading: what was written until then is read.
        let last = *over.borrow();
        let pause = match follower.catch_up().await {
            Ok(()) if last => return,
            Ok(()) => {
                told = false;
                LOOK_EVERY
            }
            Err(why) => {
                if !told {
                    let line = format!("the dashboard does not get this run for now: {why}");
                    recorder.progress(&Progress::Doing(line));
                    told = true;
                }
                follower.next = None;
                AGAIN_AFTER
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = over.wait_for(|over| *over), if !last => {}
        }
    }
}

/// A journal and how much of it the registry has.
pub(crate) struct Follower {
    registry: Arc<Registry>,
    pub id: RunId,
    tail: Tail,
    /// What the registry wants next, once it said so.
    next: Option<u64>,
}

impl Follower {
    pub fn new(registry: Arc<Registry>, journal: PathBuf) -> Option<Self> {
        Some(Self {
            registry,
            id: run_id(&journal)?,
            tail: Tail::new(journal),
            next: None,
        })
    }

    /// Entries that the registry is known to have.
    pub fn published(&self) -> u64 {
        self.next.unwrap_or_default()
    }

    pub async fn catch_up(&mut self) -> Result<(), String> {
        let mut next = match self.next {
            Some(next) => next,
            None => self.post("").await?,
        };
        self.tail.seek(next)?;
        loop {
            let piece = self.tail.read(PIECE_BYTES)?;
            if piece.is_empty() {
                self.next = Some(next);
                return Ok(());
            }
            next = self.post(&piece).await?;
        }
    }

    async fn post(&self, lines: &str) -> Result<u64, String> {
        let path = format!("/api/runs/{}/entries", self.id);
        let answer = self.registry.post(&path, lines).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let published: Published =
            serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        Ok(published.next_seq)
    }
}

/// The whole lines of a file that grows.
struct Tail {
    path: PathBuf,
    /// Bytes and lines that were read.
    offset: u64,
    line: u64,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            line: 0,
        }
    }

    /// So that `line` is the next one that is read.
    fn seek(&mut self, line: u64) -> Result<(), String> {
        if line < self.line {
            (self.offset, self.line) = (0, 0);
        }
        while self.line < line {
            let before = self.line;
            let left = line - self.line;
            self.take(usize::MAX, left)?;
            if self.line == before {
                // A journal that is shorter than what was published of it.
                return Err(format!(
                    "`{}` has {before} lines, and {line} were published",
                    self.path.display()
                ));
            }
        }
        Ok(())
    }

    fn read(&mut self, bytes: usize) -> Result<String, String> {
        self.take(bytes, u64::MAX)
    }

    /// Whole lines, at least one if there is one, up to so many bytes or lines.
    fn take(&mut self, bytes: usize, lines: u64) -> Result<String, String> {
        let failed =
            |error: std::io::Error| format!("cannot read `{}`: {error}", self.path.display());
        let mut file = std::fs::File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        let mut rest = String::new();
        file.read_to_string(&mut rest).map_err(failed)?;
        let mut taken = 0;
        let mut count = 0;
        for line in rest
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            if count == lines || (count > 0 && taken + line.len() > bytes) {
                break;
            }
            taken += line.len();
            count += 1;
        }
        rest.truncate(taken);
        self.offset += taken as u64;
        self.line += count;
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_run_is_named_after_its_directory() {
        let id = run_id(Path::new("/s/ant-quic/20250110T143000Z/journal.jsonl"));
        assert_eq!(id.unwrap().as_str(), "ant-quic/20250110T143000Z");
        assert_eq!(run_id(Path::new("journal.jsonl")), None);
    }

    #[test]
    fn whole_lines_are_read_once_and_from_anywhere() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut tail = Tail::new(file.path().to_owned());
        write!(file, "a\nb\nc").unwrap();
        assert_eq!(tail.read(1), Ok("a\n".into()));
        assert_eq!(tail.read(100), Ok("b\n".into()));
        assert_eq!(tail.read(100), Ok(String::new()));
        writeln!(file).unwrap();
        assert_eq!(tail.read(100), Ok("c\n".into()));
        tail.seek(1).unwrap();
        assert_eq!(tail.read(100), Ok("b\nc\n".into()));
        assert!(tail.seek(9).is_err());
    }
}
