//! `<state>/<project>/<timestamp>/`: everything that a run leaves behind.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::run::{IllegalEvent, Run};

use crate::journal::{self, JournalError};

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`")]
pub struct RunDirError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl RunDirError {
    pub(crate) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        failed(action, path)
    }
}

/// A run that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("`{path}` line {line} does not follow from what stands above it")]
    Illegal {
        path: PathBuf,
        line: u64,
        source: IllegalEvent,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// A new directory, named after the time; `latest` beside it points to it.
    pub fn create(state_dir: &Path, project: &str, now: Timestamp) -> Result<Self, RunDirError> {
        let parent = state_dir.join(project);
        std::fs::create_dir_all(&parent).map_err(failed("create", &parent))?;
        let path = fresh_name(&parent, now);
        for dir in [
            path.clone(),
            path.join("logs"),
            path.join("metrics"),
            path.join("captures"),
        ] {
            std::fs::create_dir(&dir).map_err(failed("create", &dir))?;
        }
        let run = Self { path };
        run.point_latest_here(&parent)?;
        Ok(run)
    }

    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The newest run of a project, if there is any.
    pub fn latest(state_dir: &Path, project: &str) -> Option<Self> {
        let link = state_dir.join(project).join("latest");
        std::fs::canonicalize(link).ok().map(Self::open)
    }

    /// All runs of a project, oldest first.
    pub fn all(state_dir: &Path, project: &str) -> Vec<Self> {
        let mut runs: Vec<Self> = directories(&state_dir.join(project))
            .map(Self::open)
            .filter(|run| run.journal().is_file())
            .collect();
        runs.sort_by_key(Self::order);
        runs
    }

    /// Every project that was ever started, in alphabetical order.
    pub fn projects(state_dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = directories(state_dir)
            .filter_map(|dir| Some(dir.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// Time, and number among those of one second.
    fn order(&self) -> (String, u32) {
        let name = self.name();
        match name.split_once('-') {
            Some((time, number)) => (time.to_owned(), number.parse().unwrap_or(0)),
            None => (name, 1),
        }
    }

    /// `20250110T143000Z`
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The run as its journal tells it, up to what was written last.
    ///
    /// # Errors
    /// The journal cannot be read, or holds what cannot have happened.
    pub fn replay(&self) -> Result<Run, ReplayError> {
        let mut run = Run::default();
        for entry in journal::read(&self.journal())? {
            run.apply(entry.at, &entry.event)
                .map_err(|source| ReplayError::Illegal {
                    path: self.journal(),
                    line: entry.seq + 1,
                    source,
                })?;
        }
        Ok(run)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// What the run was started with; `resume` reads it.
    pub fn plan(&self) -> PathBuf {
        self.path.join("plan.yaml")
    }

    /// What BUILD_LOCAL made, by digest, until the run is complete.
    pub fn binaries(&self) -> PathBuf {
        self.path.join("binaries")
    }

    pub fn proof(&self) -> PathBuf {
        self.path.join("proof.json")
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Writes a file whole or not at all.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, RunDirError> {
        let path = self.path.join(relative);
        let partial = path.with_extension("partial");
        let written =
            std::fs::write(&partial, content).and_then(|()| std::fs::rename(&partial, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&partial);
            return Err(failed("write", &path)(error));
        }
        Ok(path)
    }

    /// The same, for its owner's eyes alone.
    pub fn write_private(
        &self,
        relative: &str,
        content: impl AsRef<[u8]>,
    ) -> Result<PathBuf, RunDirError> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(relative, content)?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).map_err(failed("protect", &path))?;
        Ok(path)
    }

    fn point_latest_here(&self, parent: &Path) -> Result<(), RunDirError> {
        let link = parent.join("latest");
        let fresh = parent.join(".latest.new");
        let name = self.path.file_name().unwrap_or_default();
        let _ = std::fs::remove_file(&fresh);
        symlink(Path::new(name), &fresh).map_err(failed("link", &fresh))?;
        std::fs::rename(&fresh, &link).map_err(failed("link", &link))
    }
}

/// Directories in a directory; links are none.
fn directories(parent: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

#[cfg(unix)]
pub fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// `20250110T143000Z`, with a number behind it where that exists already.
fn fresh_name(parent: &Path, now: Timestamp) -> PathBuf {
    let name = file_time(now);
    (1..)
        .map(|n| {
            if n == 1 {
                parent.join(&name)
            } else {
                parent.join(format!("{name}-{n}"))
            }
        })
        .find(|path| !path.exists())
        .unwrap_or_else(|| parent.join(&name))
}

/// A time as it stands in file names.
pub fn file_time(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.to_owned();
    move |source| RunDirError {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_follows_the_newest_run() {
        let state = tempfile::tempdir().unwrap();
        let first = RunDir::create(state.path(), "p", Timestamp::UNIX_EPOCH).unwrap();
        let second = RunDir::create(state.path(), "p", Timestamp::UNIX_EPOCH).unwrap();
        assert_ne!(first.path(), second.path());
        let latest = RunDir::latest(state.path(), "p").unwrap();
        assert_eq!(latest.path(), second.path().canonicalize().unwrap());
    }
}
