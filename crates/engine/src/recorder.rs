//! Where everything that happens goes: checked by the fold, written to the
//! journal, then told to whoever watches.

use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use model::event::{Entry, Event};
use model::inventory::NodeName;
use model::run::{IllegalEvent, Run};

use crate::journal::{Journal, JournalError};
use crate::redact;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the run took a step that its own rules forbid; this is a defect of vps-test")]
    Illegal(#[from] IllegalEvent),
    #[error(
        "a name or an address of this run is also the value of a secret environment variable; rename one of them"
    )]
    Secret(#[source] serde_json::Error),
}

/// Something that is not worth a journal entry but worth a progress bar.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A line that the build printed.
    BuildLine(String),
    Upload {
        node: NodeName,
        binary: String,
        sent: u64,
        total: u64,
    },
    /// What the current step is at, in words.
    Doing(String),
    /// How many attempts the current matrix has at least.
    Planned {
        matrix: model::attempt::Matrix,
        attempts: usize,
    },
}

/// Watches a run. It cannot disturb it: whatever it does, the run goes on.
pub trait Sink: Send + Sync {
    fn entry(&self, entry: &Entry, run: &Run);
    fn progress(&self, _progress: &Progress) {}
}

/// Where times come from: the machine's clock, or a test's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Shared by all tasks of a run.
#[derive(Clone)]
pub struct Recorder {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
    sinks: Arc<Vec<Box<dyn Sink>>>,
}

struct Inner {
    run: Run,
    journal: Journal,
}

impl Recorder {
    pub fn new(journal: Journal, run: Run, sinks: Vec<Box<dyn Sink>>) -> Self {
        Self::with_clock(journal, run, sinks, Arc::new(Timestamp::now))
    }

    pub fn with_clock(journal: Journal, run: Run, sinks: Vec<Box<dyn Sink>>, clock: Clock) -> Self {
        Self {
            clock,
            inner: Arc::new(Mutex::new(Inner { run, journal })),
            sinks: Arc::new(sinks),
        }
    }

    /// Applies, appends, tells: in this order, so that nothing is acted on that
    /// the journal does not hold.
    pub fn record(&self, event: Event) -> Result<(), RecordError> {
        let event = redact::event(event).map_err(RecordError::Secret)?;
        let mut inner = self.lock();
        let at = self.now();
        inner.run.apply(at, &event)?;
        let entry = inner.journal.append(at, event)?;
        for sink in self.sinks.iter() {
            sink.entry(&entry, &inner.run);
        }
        Ok(())
    }

    pub fn journal_path(&self) -> std::path::PathBuf {
        self.lock().journal.path().to_owned()
    }

    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub fn progress(&self, progress: &Progress) {
        let clean = match progress {
            Progress::BuildLine(line) => Progress::BuildLine(redact::text(line).into_owned()),
            other => other.clone(),
        };
        let progress = &clean;
        for sink in self.sinks.iter() {
            sink.progress(progress);
        }
    }

    /// Reads the run as it stands.
    pub fn with<T>(&self, read: impl FnOnce(&Run) -> T) -> T {
        read(&self.lock().run)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock left the run as the journal has it or
        // one checked event ahead; going on is what lets the run end properly.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
