//! The file that holds the tokens' records. `serve` notices when it changes, so
//! that a token is made, replaced or revoked without a restart.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::token::{Presented, Record, Scope, Token};

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "cannot read the tokens of `{path}`: {source}; make one with `vps-test-registry token add`"
    )]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write the tokens of `{path}`: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{path}` is no token file: {source}")]
    Shape {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("`{path}` has no token `{word}`; `vps-test-registry token list` shows what it has")]
    Unknown { path: PathBuf, word: String },
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    tokens: Vec<Record>,
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    pub name: &'a str,
    pub scope: Scope,
    pub fleet: &'a str,
    pub node: Option<&'a str>,
    /// Older tokens of this name, scope and fleet end after so long.
    pub replace_after: Option<SignedDuration>,
}

/// Adds tokens to a file, which is made where it is missing.
pub fn add(path: &Path, wishes: &[Wish<'_>]) -> Result<Vec<Token>, TokenError> {
    let now = Timestamp::now();
    change(path, |contents| {
        contents
            .tokens
            .retain(|record| record.expires_at.is_none_or(|at| now < at));
        wishes
            .iter()
            .map(|wish| {
                if let Some(after) = wish.replace_after {
                    end(contents, wish, now + after);
                }
                let (token, record) =
                    Token::make(wish.name, wish.scope, wish.fleet, wish.node, now);
                contents.tokens.push(record);
                token
            })
            .collect()
    })
}

fn end(contents: &mut Contents, wish: &Wish<'_>, at: Timestamp) {
    let replaced = contents.tokens.iter_mut().filter(|record| {
        record.name == wish.name
            && record.scope == wish.scope
            && record.fleet == wish.fleet
            && record.node.as_deref() == wish.node
    });
    for record in replaced {
        record.expires_at = Some(record.expires_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Removes every token of this id or name.
pub fn revoke(path: &Path, word: &str) -> Result<usize, TokenError> {
    let removed = change(path, |contents| {
        let before = contents.tokens.len();
        contents
            .tokens
            .retain(|record| record.id != word && record.name != word);
        before - contents.tokens.len()
    })?;
    if removed == 0 {
        return Err(TokenError::Unknown {
            path: path.into(),
            word: word.into(),
        });
    }
    Ok(removed)
}

pub fn list(path: &Path) -> Result<Vec<Record>, TokenError> {
    Ok(read(path)?.tokens)
}

/// One at a time: two deploys must not lose each other's tokens.
fn change<T>(path: &Path, change: impl FnOnce(&mut Contents) -> T) -> Result<T, TokenError> {
    let failed = |source| TokenError::Write {
        path: path.into(),
        source,
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let _lock = lock(path).map_err(failed)?;
    let mut contents = match read(path) {
        Err(TokenError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Contents::default()
        }
        other => other?,
    };
    let done = change(&mut contents);
    let text = serde_json::to_string_pretty(&contents).map_err(|source| TokenError::Shape {
        path: path.into(),
        source,
    })?;
    write_private(path, (text + "\n").as_bytes()).map_err(failed)?;
    Ok(done)
}

fn lock(path: &Path) -> std::io::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside)?;
    file.lock()?;
    Ok(file)
}

fn read(path: &Path) -> Result<Contents, TokenError> {
    let text = std::fs::read_to_string(path).map_err(|source| TokenError::Read {
        path: path.into(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| TokenError::Shape {
        path: path.into(),
        source,
    })
}

/// Whole or not at all, and readable by the owner alone from the first byte.
pub fn write_private(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// The tokens as the file has them now.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    known: RwLock<Known>,
}

#[derive(Debug)]
struct Known {
    by_id: HashMap<String, Arc<Record>>,
    version: Option<Version>,
}

/// Differs whenever the file was replaced.
type Version = (SystemTime, u64, u64);

impl Tokens {
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let known = Known::read(path)?;
        Ok(Self {
            path: path.into(),
            known: RwLock::new(known),
        })
    }

    /// Whose token this is. A token that is not known yet may have been made a
    /// moment ago, so the file is looked at again.
    pub fn find(&self, text: &str, now: Timestamp) -> Option<Arc<Record>> {
        let presented = Presented::parse(text)?;
        self.lookup(&presented, now).or_else(|| {
            self.refresh();
            self.lookup(&presented, now)
        })
    }

    /// A record that is still there and has not ended.
    pub fn still(&self, id: &str, now: Timestamp) -> Option<Arc<Record>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let record = known.by_id.get(id)?;
        record
            .expires_at
            .is_none_or(|at| now < at)
            .then(|| Arc::clone(record))
    }

    fn lookup(&self, presented: &Presented<'_>, now: Timestamp) -> Option<Arc<Record>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let record = known.by_id.get(presented.id)?;
        presented.is(record, now).then(|| Arc::clone(record))
    }

    /// Reads the file again if it changed. One that cannot be read leaves what
    /// was known: a registry does not lock everybody out for a slip of an editor.
    pub fn refresh(&self) {
        let version = version(&self.path);
        let same = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.version == version
        };
        if same {
            return;
        }
        match Known::read(&self.path) {
            Ok(known) => {
                tracing::info!(tokens = known.by_id.len(), "tokens changed");
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
            }
            Err(error) => tracing::warn!("{error}; the tokens stay as they were"),
        }
    }
}

impl Known {
    fn read(path: &Path) -> Result<Self, TokenError> {
        let version = version(path);
        let by_id = read(path)?
            .tokens
            .into_iter()
            .map(|record| (record.id.clone(), Arc::new(record)))
            .collect();
        Ok(Self { by_id, version })
    }
}

fn version(path: &Path) -> Option<Version> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn wish(name: &str) -> Wish<'_> {
        Wish {
            name,
            scope: Scope::Viewer,
            fleet: "f",
            node: None,
            replace_after: None,
        }
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/tokens.json");
        (dir, path)
    }

    #[test]
    fn a_file_is_private_and_holds_no_token() {
        let (_dir, path) = file();
        let tokens = add(&path, &[wish("a"), wish("b")]).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        for token in tokens {
            assert!(!text.contains(token.reveal().rsplit('_').next().unwrap()));
        }
    }

    #[test]
    fn a_new_token_works_at_once_and_a_revoked_one_ends() {
        let (_dir, path) = file();
        let first = add(&path, &[wish("a")]).unwrap().remove(0);
        let tokens = Tokens::open(&path).unwrap();
        let now = Timestamp::now();
        let second = add(&path, &[wish("b")]).unwrap().remove(0);
        assert_eq!(tokens.find(second.reveal(), now).unwrap().name, "b");
        assert_eq!(tokens.find(first.reveal(), now).unwrap().name, "a");
        assert_eq!(revoke(&path, "a").unwrap(), 1);
        tokens.refresh();
        assert!(tokens.find(first.reveal(), now).is_none());
        assert!(matches!(
            revoke(&path, "a"),
            Err(TokenError::Unknown { .. })
        ));
    }

    #[test]
    fn a_replaced_token_ends_later_and_leaves() {
        let (_dir, path) = file();
        let old = add(&path, &[wish("a")]).unwrap().remove(0);
        let mut next = wish("a");
        next.replace_after = Some(SignedDuration::from_secs(60));
        add(&path, &[next]).unwrap();
        let tokens = Tokens::open(&path).unwrap();
        let now = Timestamp::now();
        let later = now + SignedDuration::from_secs(61);
        assert!(tokens.find(old.reveal(), now).is_some());
        assert!(tokens.find(old.reveal(), later).is_none());
        assert_eq!(list(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_broken_file_changes_nothing() {
        let (_dir, path) = file();
        let token = add(&path, &[wish("a")]).unwrap().remove(0);
        let tokens = Tokens::open(&path).unwrap();
        std::fs::write(&path, "{").unwrap();
        tokens.refresh();
        assert!(tokens.find(token.reveal(), Timestamp::now()).is_some());
        assert!(matches!(
            add(&path, &[wish("b")]),
            Err(TokenError::Shape { .. })
        ));
    }
}
