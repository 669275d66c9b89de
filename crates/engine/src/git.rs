//! git, as far as a run needs it: which source was built, and a work tree to
//! mend it in. The user's own index and files are never touched.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::fix::SourceTree;

#[derive(Debug, thiserror::Error)]
#[error("`{command}` in `{dir}` failed: {detail}")]
pub struct GitError {
    command: String,
    dir: PathBuf,
    detail: String,
}

/// Runs git in a directory and returns its standard output.
pub fn git<S: AsRef<OsStr>>(dir: &Path, arguments: &[S]) -> Result<Vec<u8>, GitError> {
    run(dir, arguments, &[])
}

fn run<S: AsRef<OsStr>>(
    dir: &Path,
    arguments: &[S],
    environment: &[(&str, &OsStr)],
) -> Result<Vec<u8>, GitError> {
    let failed = |detail: String| {
        let words: Vec<_> = arguments
            .iter()
            .map(|word| word.as_ref().to_string_lossy())
            .collect();
        GitError {
            command: format!("git {}", words.join(" ")),
            dir: dir.to_owned(),
            detail,
        }
    };
    // Run as root in an engineer's own tree, git would refuse to read it.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(dir)
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

/// The same, as a line of text.
fn line<S: AsRef<OsStr>>(dir: &Path, arguments: &[S]) -> Result<String, GitError> {
    git(dir, arguments).map(|out| String::from_utf8_lossy(&out).trim().to_owned())
}

/// The repository that a directory is in.
#[derive(Debug, Clone)]
pub struct Repository {
    pub top: PathBuf,
    /// Where the directory is in it; empty for the top.
    pub prefix: PathBuf,
}

impl Repository {
    /// `None` where the directory is in none, or git is not there.
    pub fn of(dir: &Path) -> Option<Self> {
        let top = line(dir, &["rev-parse", "--show-toplevel"]).ok()?;
        let prefix = line(dir, &["rev-parse", "--show-prefix"]).ok()?;
        Some(Self {
            top: top.into(),
            prefix: prefix.into(),
        })
    }

    pub fn head(&self) -> Option<String> {
        line(&self.top, &["rev-parse", "--verify", "-q", "HEAD"]).ok()
    }

    pub fn commit_at(&self, branch: &str) -> Option<String> {
        let name = format!("refs/heads/{branch}");
        line(&self.top, &["rev-parse", "--verify", "-q", &name]).ok()
    }

    pub fn parent(&self, commit: &str) -> Option<String> {
        let name = format!("{commit}^");
        line(&self.top, &["rev-parse", "--verify", "-q", &name]).ok()
    }

    pub fn subject(&self, commit: &str) -> String {
        line(&self.top, &["log", "-1", "--format=%s", commit]).unwrap_or_default()
    }

    pub fn trailer(&self, commit: &str, key: &str) -> Option<String> {
        let format = format!("--format=%(trailers:key={key},valueonly)");
        line(&self.top, &["log", "-1", &format, commit]).ok()
    }

    /// What is in the work tree now, but for what is at `except`: written into the
    /// repository by way of an index of our own.
    pub fn snapshot(&self, except: &Path) -> Result<SourceTree, GitError> {
        let trouble = |e: std::io::Error| GitError {
            command: "mktemp".into(),
            dir: self.top.clone(),
            detail: e.to_string(),
        };
        let scratch = tempfile::tempdir().map_err(trouble)?;
        let index = scratch.path().join("index");
        // With its own index git need not read every file again.
        if let Ok(own) = line(&self.top, &["rev-parse", "--git-path", "index"]) {
            let _ = std::fs::copy(self.top.join(own), &index);
        }
        let environment: [(&str, &OsStr); 1] = [("GIT_INDEX_FILE", index.as_os_str())];
        let mut add = vec!["add".to_owned(), "-A".into(), "--".into(), ":/".into()];
        // To name what is ignored already is an error.
        let is_ignored = || {
            let path = except.as_os_str();
            git(
                &self.top,
                &[OsStr::new("check-ignore"), OsStr::new("-q"), path],
            )
            .is_ok()
        };
        if let Ok(inside) = except.strip_prefix(&self.top)
            && !is_ignored()
        {
            add.push(format!(":(exclude,top){}", inside.display()));
        }
        run(&self.top, &add, &environment)?;
        let tree = run(&self.top, &["write-tree"], &environment)?;
        let tree = String::from_utf8_lossy(&tree).trim().to_owned();
        let commit = self.head();
        let committed = line(&self.top, &["rev-parse", "--verify", "-q", "HEAD^{tree}"]).ok();
        self.give_back();
        Ok(SourceTree {
            repository: self.top.display().to_string(),
            commit,
            dirty: committed.as_ref() != Some(&tree),
            tree,
        })
    }

    /// A commit that holds this source: its own, or one on top with what was not
    /// committed.
    pub fn commit_of(&self, source: &SourceTree) -> Result<String, GitError> {
        match &source.commit {
            Some(commit) if !source.dirty => Ok(commit.clone()),
            parent => self.commit(
                &source.tree,
                parent.as_deref(),
                "The source as it was tested\n\nUncommitted changes, taken by vps-test.\n",
            ),
        }
    }

    /// A commit that no branch holds yet.
    pub fn commit(
        &self,
        tree: &str,
        parent: Option<&str>,
        message: &str,
    ) -> Result<String, GitError> {
        let mut words = self.identity();
        words.extend(["commit-tree", tree, "-m", message].map(str::to_owned));
        words.extend(
            parent
                .iter()
                .flat_map(|parent| ["-p".to_owned(), (*parent).to_owned()]),
        );
        let commit = line(&self.top, &words)?;
        self.give_back();
        Ok(commit)
    }

    /// Whoever the repository says; else ourselves.
    fn identity(&self) -> Vec<String> {
        let is_known = git(&self.top, &["config", "user.email"]).is_ok();
        if is_known {
            return Vec::new();
        }
        [
            "-c",
            "user.name=vps-test",
            "-c",
            "user.email=vps-test@localhost",
        ]
        .map(str::to_owned)
        .into()
    }

    /// `from` and `to` are commits or trees.
    pub fn diff(&self, from: &str, to: &str, more: &[&str]) -> Result<String, GitError> {
        let words = [&["diff", "--no-renames"][..], more, &[from, to]].concat();
        git(&self.top, &words).map(|out| String::from_utf8_lossy(&out).into_owned())
    }

    /// What a diff changes at one of these places.
    pub fn changed_at(
        &self,
        from: &str,
        to: &str,
        places: &[String],
    ) -> Result<Vec<String>, GitError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut words: Vec<String> = ["diff", "--no-renames", "--name-only", from, to, "--"]
            .map(str::to_owned)
            .into();
        words.extend(places.iter().map(|place| format!(":(top,glob){place}")));
        let out = line(&self.top, &words)?;
        Ok(out.lines().map(str::to_owned).collect())
    }

    /// Run as root in somebody else's repository, what we wrote becomes theirs.
    fn give_back(&self) {
        use std::os::unix::fs::MetadataExt;
        let Ok(git_dir) = line(&self.top, &["rev-parse", "--git-common-dir"]) else {
            return;
        };
        let git_dir = self.top.join(git_dir);
        let Ok(owner) = std::fs::metadata(&git_dir) else {
            return;
        };
        if owner.uid() != 0 {
            let _ = Command::new("find")
                .arg(&git_dir)
                .args(["-user", "root", "-exec", "chown", "-h"])
                .arg(format!("{}:{}", owner.uid(), owner.gid()))
                .args(["{}", "+"])
                .stderr(std::process::Stdio::null())
                .status();
        }
    }

    /// A work tree of its own at `path`, on `branch` at `commit`, clean.
    pub fn work_tree(&self, path: &Path, branch: &str, commit: &str) -> Result<Self, GitError> {
        let is_there = Self::of(path)
            .is_some_and(|found| std::fs::canonicalize(path).is_ok_and(|path| path == found.top));
        if is_there {
            git(path, &["checkout", "-q", "-f", "-B", branch, commit])?;
            git(path, &["clean", "-fdq"])?;
        } else {
            self.remove_work_tree(path);
            let path = path.as_os_str();
            let words = ["worktree", "add", "-q", "--force", "-B", branch].map(OsStr::new);
            git(
                &self.top,
                &[&words[..], &[path, OsStr::new(commit)]].concat(),
            )?;
            self.give_back();
        }
        Ok(Self {
            top: std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            prefix: self.prefix.clone(),
        })
    }

    /// Its branch stays.
    pub fn remove_work_tree(&self, path: &Path) {
        let words = ["worktree", "remove", "--force"].map(OsStr::new);
        let _ = git(&self.top, &[&words[..], &[path.as_os_str()]].concat());
        let _ = std::fs::remove_dir_all(path);
        let _ = git(&self.top, &["worktree", "prune"]);
    }

    /// Deletes a branch that holds nothing that `commit` does not.
    pub fn drop_branch(&self, branch: &str) {
        let _ = git(&self.top, &["branch", "-q", "-D", branch]);
    }
}
