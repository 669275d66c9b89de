//! `--stack NAME=PATH|GIT#REV|VERSION`: the engineer's own tree of the stack.
//!
//! cargo does it, through its `patch` tables; what was built is written down.

use std::path::{Path, PathBuf};

use model::event::StackSource;
use sha2::{Digest, Sha256};

use crate::git::{GitError, git};

#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("`{given}` is not NAME=PATH, NAME=GIT#REV or NAME=VERSION")]
    Shape { given: String },
    #[error("`{path}` is no crate: there is no Cargo.toml in it")]
    NoCrate { path: PathBuf },
    #[error("`{name}` is not the stack of this project; that is `{stack}`")]
    OtherStack { name: String, stack: String },
    #[error(transparent)]
    Git(#[from] GitError),
}

/// How the stack is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackPatch {
    pub name: String,
    given: String,
    replacement: Replacement,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Replacement {
    Path(PathBuf),
    Git { url: String, rev: String },
    Version(String),
}

impl StackPatch {
    /// # Errors
    /// It has another shape, or leads to no crate.
    pub fn parse(given: &str) -> Result<Self, StackError> {
        let shape = || StackError::Shape {
            given: given.to_owned(),
        };
        let (name, what) = given.split_once('=').ok_or_else(shape)?;
        if name.is_empty() || what.is_empty() {
            return Err(shape());
        }
        let replacement = if is_version(what) {
            Replacement::Version(what.to_owned())
        } else if let Some((url, rev)) = what.split_once('#') {
            if url.is_empty() || rev.is_empty() {
                return Err(shape());
            }
            Replacement::Git {
                url: as_url(url),
                rev: rev.to_owned(),
            }
        } else {
            Replacement::Path(crate_at(Path::new(what))?)
        };
        Ok(Self {
            name: name.to_owned(),
            given: what.to_owned(),
            replacement,
        })
    }

    /// The engineer's own tree, where it is one.
    pub fn tree(&self) -> Option<&Path> {
        match &self.replacement {
            Replacement::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The same stack from another tree.
    pub fn use_tree(&mut self, path: PathBuf) {
        self.replacement = Replacement::Path(path);
    }

    /// `NAME=SOURCE`, with the path of a tree that is found from everywhere.
    pub fn absolute(&self) -> String {
        let source = match &self.replacement {
            Replacement::Path(path) => path.display().to_string(),
            Replacement::Git { url, rev } => format!("{url}#{rev}"),
            Replacement::Version(version) => version.clone(),
        };
        format!("{}={source}", self.name)
    }

    /// # Errors
    /// The module tests another stack.
    pub fn check_stack(&self, stack: Option<&str>) -> Result<(), StackError> {
        match stack {
            Some(stack) if stack != self.name => Err(StackError::OtherStack {
                name: self.name.clone(),
                stack: stack.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// What cargo is told when it builds.
    pub fn cargo_arguments(&self) -> Vec<String> {
        let key = format!("patch.crates-io.{}", self.name);
        let settings = match &self.replacement {
            Replacement::Path(path) => vec![("path", path.display().to_string())],
            Replacement::Git { url, rev } => vec![("git", url.clone()), ("rev", rev.clone())],
            Replacement::Version(_) => Vec::new(),
        };
        settings
            .into_iter()
            .flat_map(|(what, value)| ["--config".to_owned(), format!("{key}.{what}={value:?}")])
            .collect()
    }

    /// The released version that the lock file is to name.
    pub fn version(&self) -> Option<&str> {
        match &self.replacement {
            Replacement::Version(version) => Some(version),
            _ => None,
        }
    }

    /// What is built, as the proof records it.
    ///
    /// # Errors
    /// git is not there or fails in a work tree.
    pub fn source(&self) -> Result<StackSource, StackError> {
        let (commit, dirty_sha256) = match &self.replacement {
            Replacement::Path(path) => state_of_tree(path)?,
            Replacement::Git { rev, .. } => (Some(rev.clone()), None),
            Replacement::Version(_) => (None, None),
        };
        Ok(StackSource {
            name: self.name.clone(),
            given: self.given.clone(),
            commit,
            dirty_sha256,
        })
    }
}

fn is_version(what: &str) -> bool {
    let mut parts = what.split('.');
    let numbers = parts
        .by_ref()
        .take(2)
        .filter(|p| p.parse::<u64>().is_ok())
        .count();
    numbers == 2
        && parts
            .next()
            .is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit()))
}

/// cargo wants URLs where git takes paths.
fn as_url(url: &str) -> String {
    let is_local = !url.contains("://") && Path::new(url).exists();
    let absolute = std::fs::canonicalize(url).ok().filter(|_| is_local);
    absolute.map_or_else(
        || url.to_owned(),
        |path| format!("file://{}", path.display()),
    )
}

fn crate_at(path: &Path) -> Result<PathBuf, StackError> {
    let no_crate = || StackError::NoCrate {
        path: path.to_owned(),
    };
    let absolute = std::fs::canonicalize(path).map_err(|_| no_crate())?;
    if absolute.join("Cargo.toml").is_file() {
        Ok(absolute)
    } else {
        Err(no_crate())
    }
}

/// Commit and digest of everything in the tree that is not committed.
fn state_of_tree(path: &Path) -> Result<(Option<String>, Option<String>), StackError> {
    let inside = git(path, &["rev-parse", "--is-inside-work-tree"]);
    if !inside.is_ok_and(|answer| answer.trim_ascii() == b"true") {
        return Ok((None, None));
    }
    let commit = git(path, &["rev-parse", "HEAD"]).ok();
    let commit = commit.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    let against: &[&str] = if commit.is_some() {
        &["HEAD"]
    } else {
        &["--cached"]
    };
    let diff = git(path, &[&["diff", "--binary"], against].concat())?;
    let untracked = git(
        path,
        &[
            "ls-files",
            "--others",
            "--exclude-standard",
            "-z",
            "--full-name",
            ".",
        ],
    )?;
    if diff.is_empty() && untracked.is_empty() {
        return Ok((commit, None));
    }
    let mut hash = Sha256::new();
    hash.update(&diff);
    let top = git(path, &["rev-parse", "--show-toplevel"])?;
    let top = PathBuf::from(String::from_utf8_lossy(&top).trim());
    for name in untracked
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        hash.update(name);
        hash.update(std::fs::read(top.join(&*String::from_utf8_lossy(name))).unwrap_or_default());
    }
    Ok((commit, Some(hex::encode(hash.finalize()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_from_a_path_and_from_git() {
        let version = StackPatch::parse("ant-quic=0.27.60").unwrap();
        assert_eq!(version.version(), Some("0.27.60"));
        let git = StackPatch::parse("ant-quic=https://example.org/x.git#abc").unwrap();
        assert_eq!(
            git.cargo_arguments().join(" "),
            "--config patch.crates-io.ant-quic.git=\"https://example.org/x.git\" \
             --config patch.crates-io.ant-quic.rev=\"abc\""
        );
    }

    #[test]
    fn what_has_no_shape_or_no_crate_is_refused() {
        for given in ["ant-quic", "=x", "ant-quic=", "ant-quic=url#"] {
            assert!(
                matches!(StackPatch::parse(given), Err(StackError::Shape { .. })),
                "{given}"
            );
        }
        let error = StackPatch::parse("ant-quic=/nowhere").unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }

    #[test]
    fn the_digest_of_a_tree_changes_with_what_is_not_committed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), "[package]\n").unwrap();
        let git_in = |arguments: &[&str]| git(dir.path(), arguments).unwrap();
        git_in(&["init", "-q"]);
        git_in(&["add", "."]);
        git_in(&[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "commit",
            "-q",
            "-m",
            "one",
        ]);
        let patch = StackPatch::parse(&format!("s={}", dir.path().display())).unwrap();
        let clean = patch.source().unwrap();
        assert!(
            clean.commit.is_some() && clean.dirty_sha256.is_none(),
            "{clean:?}"
        );

        std::fs::write(dir.path().join("Cargo.toml"), "[package]\nname = \"s\"\n").unwrap();
        let edited = patch.source().unwrap().dirty_sha256;
        std::fs::write(dir.path().join("new.rs"), "").unwrap();
        let grown = patch.source().unwrap().dirty_sha256;
        assert!(edited.is_some() && grown.is_some() && edited != grown);
    }
}
