//! `<state>/<project>/<timestamp>/`: everything that a run leaves behind.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::run::{IllegalEvent, Run};
use sha2::{Digest, Sha256};

use crate::journal::{self, JournalError};
use crate::redact;

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

const RESUME: &str = ".resume";

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

    /// `.resume/NAME` beside the run: what it needs to go on, until it is complete.
    /// Not in its directory, as that is for others to read.
    pub fn private(&self) -> PathBuf {
        self.path.with_file_name(RESUME).join(self.name())
    }

    /// What the run was started with.
    pub fn plan(&self) -> PathBuf {
        self.private().join("plan.yaml")
    }

    /// What BUILD_LOCAL made, by digest.
    pub fn binaries(&self) -> PathBuf {
        self.private().join("binaries")
    }

    /// For its owner's eyes alone: a config may hold what is nobody else's business.
    pub fn write_plan(&self, text: &str) -> Result<PathBuf, RunDirError> {
        use std::io::Write;
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let (dir, path) = (self.private(), self.plan());
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(failed("create", &dir))?;
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(failed("write", &path))?;
        Ok(path)
    }

    /// Whether every document of its end is written: the manifest is the last.
    pub fn is_documented(&self) -> bool {
        self.path.join(crate::manifest::NAME).exists()
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Writes what somebody else said, without its secrets, whole or not at all.
    pub fn write(&self, relative: &str, text: &str) -> Result<PathBuf, RunDirError> {
        self.write_exactly(relative, redact::text(text).as_bytes())
    }

    /// Writes what follows from the journal, which holds no secrets.
    pub fn write_exactly(
        &self,
        relative: &str,
        content: impl AsRef<[u8]>,
    ) -> Result<PathBuf, RunDirError> {
        let path = self.path.join(relative);
        let partial = path.with_extension("partial");
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed("create", parent))?;
        }
        let written =
            std::fs::write(&partial, content).and_then(|()| std::fs::rename(&partial, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&partial);
            return Err(failed("write", &path)(error));
        }
        Ok(path)
    }

    /// As people write it: with `~` for home.
    pub fn display(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let below = home.and_then(|home| Some(path.strip_prefix(home).ok()?.to_owned()));
        below.map_or_else(
            || path.display().to_string(),
            |below| format!("~/{}", below.display()),
        )
    }

    /// Every file, by path relative to the directory, in order. What is being
    /// written is not one yet.
    pub fn files(&self) -> Result<Vec<String>, RunDirError> {
        let mut files = Vec::new();
        for entry in walkdir::WalkDir::new(&self.path) {
            let entry = entry.map_err(|e| failed("list", &self.path)(e.into()))?;
            let relative = entry.path().strip_prefix(&self.path).ok();
            let name = relative.and_then(Path::to_str).unwrap_or_default();
            if entry.file_type().is_file() && !name.ends_with(".partial") {
                files.push(name.to_owned());
            }
        }
        files.sort();
        Ok(files)
    }

    /// SHA-256 and size of a file.
    pub fn digest(&self, relative: &str) -> Result<(String, u64), RunDirError> {
        let path = self.path.join(relative);
        let mut file = std::fs::File::open(&path).map_err(failed("read", &path))?;
        let mut hash = Sha256::new();
        let bytes = io::copy(&mut file, &mut hash).map_err(failed("read", &path))?;
        Ok((hex::encode(hash.finalize()), bytes))
    }

    /// Every `proof-<timestamp>.md`.
    pub fn proofs(&self) -> Result<Vec<String>, RunDirError> {
        let mut files = self.files()?;
        files.retain(|name| name.starts_with("proof-") && name.ends_with(".md"));
        Ok(files)
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, relative: &str) -> Result<(), RunDirError> {
        let path = self.path.join(relative);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
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
