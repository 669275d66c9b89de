//! Who runs a project: a locked file that names the process.
//!
//! The kernel drops the lock with its process, however that ends, so a file that a
//! `kill -9` left claims nothing and is taken over. What is in the file only says
//! whom to ask.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const FILE: &str = "claim.json";

/// Whoever looks at a claim holds its lock for a moment, which is not to be taken
/// for a run.
const GLANCE: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("{}", held(holder.as_ref()))]
    Held { holder: Option<Holder> },
    #[error("cannot {action} `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

fn held(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!("process {} runs it since {}", holder.pid, holder.since),
        None => "another process has just taken it".into(),
    }
}

/// What a process says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// When the process began, in the kernel's own words: a pid may be used again.
    pub born: Option<String>,
    pub since: Timestamp,
    /// Its run directory, once it has one.
    pub run: Option<PathBuf>,
}

impl Holder {
    fn this_process() -> Self {
        let pid = std::process::id();
        Self {
            pid,
            born: born(pid),
            since: Timestamp::now(),
            run: None,
        }
    }

    /// Whether the process is still the one that wrote this.
    pub fn is_itself(&self) -> bool {
        match (&self.born, born(self.pid)) {
            (Some(then), Some(now)) => *then == now,
            // Nothing but Linux tells: the lock alone counts.
            (None, _) => true,
            (Some(_), None) => false,
        }
    }
}

/// A project's state directory, held by this process until it is dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    file: File,
    holder: Holder,
}

impl Claim {
    /// Takes a project for this process.
    ///
    /// # Errors
    /// A living process has it; or the state directory cannot be written.
    pub fn take(state_dir: &Path, project: &str) -> Result<Self, ClaimError> {
        let dir = state_dir.join(project);
        std::fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        let path = dir.join(FILE);
        let began = Instant::now();
        loop {
            if let Some(file) = lock(&path)? {
                let mut claim = Self {
                    path,
                    file,
                    holder: Holder::this_process(),
                };
                claim.write()?;
                return Ok(claim);
            }
            let holder = read(&path).filter(Holder::is_itself);
            if holder.is_some() || began.elapsed() > GLANCE {
                return Err(ClaimError::Held { holder });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Says which run directory it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn runs_in(&mut self, run: &Path) -> Result<(), ClaimError> {
        self.holder.run = Some(run.to_owned());
        self.write()
    }

    /// Who runs a project now; `None` where nobody does.
    pub fn holder(state_dir: &Path, project: &str) -> Option<Holder> {
        let path = state_dir.join(project).join(FILE);
        let file = File::open(&path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Ok(()) | Err(TryLockError::Error(_)) => return None,
        }
        // Its writer may be at it.
        let began = Instant::now();
        loop {
            if let Some(holder) = read(&path).filter(Holder::is_itself) {
                return Some(holder);
            }
            if began.elapsed() > GLANCE {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn write(&mut self) -> Result<(), ClaimError> {
        let text = serde_json::to_vec(&self.holder).map_err(io::Error::from);
        let file = &mut self.file;
        text.and_then(|text| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&text)
        })
        .map_err(failed("write", &self.path))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // While it is locked: whoever waits for the lock sees that the file is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The file, locked; `None` where somebody else has it.
fn lock(path: &Path) -> Result<Option<File>, ClaimError> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
        }
        // Its last holder may have removed it between our opening and our locking.
        let ours = file.metadata().map_err(failed("read", path))?;
        if std::fs::metadata(path).is_ok_and(|there| there.ino() == ours.ino()) {
            return Ok(Some(file));
        }
    }
}

fn read(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Boot and ticks since boot; `None` where there is no such process, or no `/proc`.
fn born(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold anything but its end.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().nth(19)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} {ticks}", boot.trim()))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_one_holder_at_a_time() {
        let state = tempfile::tempdir().unwrap();
        let mut claim = Claim::take(state.path(), "p").unwrap();
        claim.runs_in(Path::new("/runs/one")).unwrap();
        let holder = Claim::holder(state.path(), "p").unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(holder.run.as_deref(), Some(Path::new("/runs/one")));
        let second = Claim::take(state.path(), "p").unwrap_err().to_string();
        assert!(
            second.contains(&format!("process {} runs it", std::process::id())),
            "{second}"
        );
        Claim::take(state.path(), "other").unwrap();

        drop(claim);
        assert_eq!(Claim::holder(state.path(), "p"), None);
        assert!(!state.path().join("p").join(FILE).exists());
        Claim::take(state.path(), "p").unwrap();
    }

    #[test]
    fn a_file_without_a_lock_claims_nothing() {
        let state = tempfile::tempdir().unwrap();
        let claim = Claim::take(state.path(), "p").unwrap();
        let left = serde_json::to_string(&claim.holder).unwrap();
        drop(claim);
        let file = state.path().join("p").join(FILE);
        std::fs::write(&file, left).unwrap();
        assert_eq!(Claim::holder(state.path(), "p"), None);
        Claim::take(state.path(), "p").unwrap();
    }

    #[test]
    fn a_pid_that_was_used_again_is_another_process() {
        let mut holder = Holder::this_process();
        assert!(holder.is_itself());
        holder.born = Some("another boot 1".into());
        assert!(!holder.is_itself());
    }

    #[test]
    fn looking_at_a_claim_never_refuses_a_start() {
        let state = tempfile::tempdir().unwrap();
        drop(Claim::take(state.path(), "p").unwrap());
        let (done, root) = (std::sync::atomic::AtomicBool::new(false), state.path());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    Claim::holder(root, "p");
                }
            });
            for _ in 0..300 {
                Claim::take(root, "p").unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
