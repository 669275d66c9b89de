//! The token that every write needs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;
use crate::state::Shared;

const RANDOM_BYTES: usize = 32;

/// Shorter ones can be guessed.
const LENGTH_MIN: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the token file `{path}`: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write the token file `{path}`: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "`{path}` holds a token of {length} characters, which is too short to be safe: \
         make one with `vps-test-registry token --out FILE`"
    )]
    TooShort { path: PathBuf, length: usize },
    #[error("`{path}` holds a token with spaces or characters that no HTTP header can carry")]
    NotPrintable { path: PathBuf },
}

/// A bearer token. It has no `Display`, and its `Debug` does not show it.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// White space around the token does not count.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path).map_err(|source| TokenError::Read {
            path: path.to_owned(),
            source,
        })?;
        let token = text.trim();
        if token.len() < LENGTH_MIN {
            return Err(TokenError::TooShort {
                path: path.to_owned(),
                length: token.len(),
            });
        }
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::NotPrintable {
                path: path.to_owned(),
            });
        }
        Ok(Self(token.to_owned()))
    }

    /// Writes a new random token that only the owner can read; a token that is
    /// there stays. Says whether it wrote one.
    pub fn create(path: &Path) -> Result<bool, TokenError> {
        if path.exists() {
            Self::read(path)?;
            return Ok(false);
        }
        let token = hex::encode(rand::random::<[u8; RANDOM_BYTES]>());
        write_private(path, format!("{token}\n").as_bytes()).map_err(|source| {
            TokenError::Write {
                path: path.to_owned(),
                source,
            }
        })?;
        Ok(true)
    }

    /// Takes the same time wherever the two differ.
    fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

/// Whole or not at all, and readable by the owner alone from the first byte.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Refuses a request without the right token before its body is read.
pub(crate) async fn require_token(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let presented = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| bearer(value.as_bytes()));
    match presented {
        Some(token) if shared.token.matches(token) => Ok(next.run(request).await),
        _ => Err(ApiError::Unauthorized),
    }
}

/// The credentials of `Bearer TOKEN`; RFC 9110 lets the scheme be in any case.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_created_token_is_private_random_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("sub/one"), dir.path().join("two"));
        assert!(Token::create(&one).unwrap());
        assert!(Token::create(&two).unwrap());
        let first = Token::read(&one).unwrap().0;
        assert_eq!(first.len(), 2 * RANDOM_BYTES);
        assert_ne!(first, Token::read(&two).unwrap().0);
        let mode = std::fs::metadata(&one).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!Token::create(&one).unwrap());
        assert_eq!(Token::read(&one).unwrap().0, first);
    }

    #[test]
    fn bad_token_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(Token::read(&path), Err(TokenError::Read { .. })));
        std::fs::write(&path, "short\n").unwrap();
        assert!(matches!(
            Token::create(&path),
            Err(TokenError::TooShort { length: 5, .. })
        ));
        std::fs::write(&path, "two words that are long").unwrap();
        assert!(matches!(
            Token::read(&path),
            Err(TokenError::NotPrintable { .. })
        ));
    }

    #[test]
    fn only_the_whole_token_matches() {
        let token = Token("0123456789abcdef".into());
        assert!(token.matches(b"0123456789abcdef"));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdeF",
            "0123456789abcdef0",
        ] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn only_bearer_credentials_count() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"abc"), None);
    }

    #[test]
    fn debug_does_not_show_it() {
        assert_eq!(format!("{:?}", Token("secret".into())), "Token(…)");
    }
}
