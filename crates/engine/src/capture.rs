//! The captures of attempts, fetched from the hosts while others run on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet::{Host, Vantage};
use model::attempt::{Attempt, Counted};
use tokio::task::JoinSet;

/// Which attempts leave a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    #[default]
    None,
    Failures,
    All,
}

/// What is captured, and where it goes.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    pub keep: Keep,
    /// A directory an attempt is made in here.
    pub directory: PathBuf,
}

/// tcpdump hands packets on once a second.
const UNTIL_WRITTEN: Duration = Duration::from_millis(1200);

pub struct Captures {
    what: Capture,
    /// Each returns what could not be fetched.
    fetches: Mutex<JoinSet<Vec<String>>>,
}

impl Captures {
    pub fn new(what: &Capture) -> Self {
        Self {
            what: what.clone(),
            fetches: Mutex::default(),
        }
    }

    /// Fetches in the background what belongs to an attempt that is to be kept.
    pub fn take(&self, attempt: &Attempt, caller: &Arc<Host>, callee: &Arc<Host>) {
        let keep = match self.what.keep {
            Keep::None => false,
            Keep::Failures => attempt.verdict() != Counted::Success,
            Keep::All => true,
        };
        if !keep {
            return;
        }
        let fetch = Fetch {
            directory: self.what.directory.join(&attempt.start.id.0),
            ports: ports(attempt),
            hosts: [
                ("caller", Arc::clone(caller)),
                ("callee", Arc::clone(callee)),
            ],
        };
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.spawn(fetch.run());
    }

    /// Waits for all of them, and says which failed.
    pub async fn finish(&self) -> Vec<String> {
        let all = std::mem::take(&mut *self.fetches.lock().unwrap_or_else(PoisonError::into_inner));
        all.join_all().await.into_iter().flatten().collect()
    }
}

/// Ports are fresh in every attempt, so they say what belongs to it.
fn ports(attempt: &Attempt) -> Vec<u16> {
    let ends = &attempt.endpoints;
    let ports: BTreeSet<u16> = ends
        .caller
        .iter()
        .chain(&ends.callee)
        .map(|end| end.port())
        .collect();
    ports.into_iter().collect()
}

struct Fetch {
    directory: PathBuf,
    ports: Vec<u16>,
    hosts: [(&'static str, Arc<Host>); 2],
}

impl Fetch {
    async fn run(self) -> Vec<String> {
        if self.ports.is_empty() {
            return Vec::new();
        }
        tokio::time::sleep(UNTIL_WRITTEN).await;
        let mut failed = Vec::new();
        for (side, host) in &self.hosts {
            for vantage in [Vantage::Outside, Vantage::Inside] {
                if vantage == Vantage::Inside && host.node.is_public() {
                    continue;
                }
                let file = format!("{side}-{}.pcapng", vantage.word());
                match host.captured(vantage, &self.ports).await {
                    Ok(Some(bytes)) => failed.extend(self.write(&file, &bytes).err()),
                    Ok(None) => {}
                    Err(error) => failed.push(error.to_string()),
                }
            }
        }
        failed
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.directory.join(file);
        std::fs::create_dir_all(&self.directory)
            .and_then(|()| std::fs::write(&path, bytes))
            .map_err(|e| format!("cannot write `{}`: {e}", path.display()))
    }
}
