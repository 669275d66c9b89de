//! The sockets of a run's SSH sessions, in a directory with a short path (a Unix
//! socket's has 108 bytes) to which a link leads. What a process left that was
//! killed is found through the link, ended and removed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::run_dir::{RunDir, RunDirError};

const LINK: &str = "scratch";

/// Removed with this value, and with what is still open in it.
pub struct Scratch {
    directory: tempfile::TempDir,
    link: PathBuf,
}

impl Scratch {
    /// Ends and removes what earlier processes left, of this run and of runs before
    /// it: only the newest run of a project is resumed.
    pub fn renew(dir: &RunDir) -> Result<Self, RunDirError> {
        let own = dir.private();
        let parent = own.parent().unwrap_or(&own).to_owned();
        for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            remove_sessions(&entry.path().join(LINK));
            if entry.path() != own {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        std::fs::create_dir_all(&own).map_err(RunDirError::of("create", &own))?;
        let link = own.join(LINK);
        let made = tempfile::Builder::new().prefix("vps-test-").tempdir();
        let directory = made.map_err(RunDirError::of("create", &link))?;
        crate::run_dir::symlink(directory.path(), &link).map_err(RunDirError::of("link", &link))?;
        Ok(Self { directory, link })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        end_sessions(self.directory.path());
        let _ = std::fs::remove_file(&self.link);
    }
}

fn remove_sessions(link: &Path) {
    if let Ok(left) = std::fs::read_link(link) {
        end_sessions(&left);
        let _ = std::fs::remove_dir_all(&left);
        let _ = std::fs::remove_file(link);
    }
}

/// Masters of multiplexed sessions outlive the process that began them.
fn end_sessions(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let socket = entry.path().join("master");
        if socket.exists() {
            let _ = Command::new("ssh")
                .arg("-S")
                .arg(&socket)
                .args(["-O", "exit", "none"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}
