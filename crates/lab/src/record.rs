//! What a daemon writes down about itself before it makes anything, so that
//! whoever cleans up after it knows what there was.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroups;
use crate::error::LabError;

/// The end of a process takes its whole PID namespace with it, which the kernel
/// does in its own time.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the outer process may take to notice that the inner one has ended.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    outer: Process,
    inner: Process,
    pub cgroups: Cgroups,
}

impl Record {
    /// Of this process, the twin's PID 1. Its `/proc` must still be the machine's:
    /// there it has the number by which others know it.
    ///
    /// # Errors
    /// The outer process has ended already: nothing would end this one.
    pub fn of_this_process(name: &str, outer: i32) -> Result<Self, LabError> {
        let this =
            std::fs::read_link("/proc/self").map_err(LabError::file("read", "/proc/self"))?;
        let found = this.to_str().and_then(|pid| Process::of(pid.parse().ok()?));
        Ok(Self {
            outer: Process::of(outer)
                .ok_or_else(|| LabError::Daemon("it was killed while it started".into()))?,
            inner: found
                .ok_or_else(|| LabError::Daemon("it does not know its own number".into()))?,
            cgroups: Cgroups::of_twin(name),
        })
    }

    pub fn write(&self, path: &Path) -> Result<(), LabError> {
        let text = serde_json::to_string(self).map_err(|e| LabError::Daemon(e.to_string()))?;
        std::fs::write(path, text).map_err(LabError::file("write", path))
    }

    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    /// Ends what still runs and waits until all of it is gone.
    pub fn end(&self) {
        self.inner.kill();
        self.inner.wait();
        // It ends with its child, unless it was stopped.
        if !wait_until(GRACE, || !self.outer.is_running()) {
            self.outer.kill();
            self.outer.wait();
        }
    }
}

/// A process, told from a later one of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pid: i32,
    /// In ticks since the machine booted.
    started: String,
}

impl Process {
    /// `None` for one that has ended; a zombie has.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?;
        let started = fields.nth(18)?.to_owned();
        (!matches!(state, "Z" | "X")).then_some(Self { pid, started })
    }

    fn is_running(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    fn kill(&self) {
        if self.is_running() {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    pub fn wait(&self) {
        wait_until(PATIENCE, || !self.is_running());
    }
}

/// Whether it came true in time.
pub fn wait_until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Where the record lies in a run directory.
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("record.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_no_more_even_unreaped() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(process.is_running());
        process.kill();
        process.wait();
        assert!(!process.is_running(), "a zombie");
        child.wait().unwrap();
        assert!(!process.is_running());
    }

    #[test]
    fn another_process_of_the_same_number_is_another() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let earlier = Process {
            started: "1".into(),
            ..own.clone()
        };
        assert!(own.is_running());
        assert!(!earlier.is_running());
        earlier.kill();
    }
}
