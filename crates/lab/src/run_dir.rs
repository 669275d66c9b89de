//! `/run/vps-test/lab/NAME/`: all that a twin leaves in the file system.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::LabError;

const ROOT: &str = "/run/vps-test/lab";

#[derive(Debug, Clone)]
pub struct RunDir {
    name: String,
    path: PathBuf,
}

impl RunDir {
    /// # Errors
    /// A name that would not do as a file name or a cgroup.
    pub fn of(name: &str) -> Result<Self, LabError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 32 || !name.chars().all(fits) || name.starts_with('-') {
            return Err(LabError::BadName { name: name.into() });
        }
        Ok(Self {
            name: name.into(),
            path: Path::new(ROOT).join(name),
        })
    }

    /// Every twin that has a directory, up or not.
    pub fn all() -> Vec<Self> {
        let entries = std::fs::read_dir(ROOT).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter_map(|e| Self::of(&e.file_name().to_string_lossy()).ok())
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Makes the directory and holds it against other programs until the
    /// returned file is dropped. Waits for whoever holds it now.
    ///
    /// # Errors
    /// It cannot be made or held.
    pub fn hold(&self) -> Result<Flock<File>, LabError> {
        loop {
            std::fs::create_dir_all(&self.path).map_err(LabError::file("create", &self.path))?;
            let Ok(file) = File::open(&self.path) else {
                continue;
            };
            let held = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| LabError::file("hold", &self.path)(errno.into()))?;
            // Its last holder may have removed it: then what we hold is nothing.
            if held
                .metadata()
                .map_err(LabError::file("read", &self.path))?
                .nlink()
                > 0
            {
                return Ok(held);
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The daemon's control socket; it answers while the twin is up.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("daemon.log")
    }

    /// The inventory that the twin was booted from, word for word.
    pub fn inventory(&self) -> PathBuf {
        self.path.join("fleet.yaml")
    }

    pub fn ssh_config(&self) -> PathBuf {
        self.path.join("ssh_config")
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.path.join("known_hosts")
    }

    pub fn identity(&self) -> PathBuf {
        self.path.join("id_ed25519")
    }

    /// Where a host's root is mounted, in the daemon's mount namespace only.
    pub fn root_of(&self, node: &str) -> PathBuf {
        self.path.join("hosts").join(node).join("root")
    }

    pub fn netns_of(&self, node: &str) -> PathBuf {
        self.path.join("hosts").join(node).join("netns")
    }

    pub fn console_of(&self, node: &str) -> PathBuf {
        self.path.join("hosts").join(node).join("console.log")
    }
}
