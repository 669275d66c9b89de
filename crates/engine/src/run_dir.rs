//! `<state>/<project>/<timestamp>/`: everything that a run leaves behind.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`")]
pub struct RunDirError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

#[derive(Debug, Clone)]
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

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Writes a file whole or not at all.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, RunDirError> {
        let path = self.path.join(relative);
        let partial = path.with_extension("partial");
        std::fs::write(&partial, content).map_err(failed("write", &partial))?;
        std::fs::rename(&partial, &path).map_err(failed("write", &path))?;
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

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
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
