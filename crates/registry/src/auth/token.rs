//! Tokens: what they look like, what they allow, and what is kept of them.
//!
//! A token is `vpt_ID_SECRET`. The id is no secret: it finds the record, and the
//! secret is then compared as a digest in constant time. 256 random bits need no
//! slow hash.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "vpt_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

/// What the bearer may do. Operators may do what viewers may; peers may only
/// write what is their own.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Registers and beats, for the token's node alone where it names one
    Peer,
    /// Publishes runs and removes them, confirms what is to be verified, reads
    Operator,
    /// Reads
    Viewer,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Peer => "peer",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        })
    }
}

/// What is kept of a token: everything but the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    /// For people, and to replace it by.
    pub name: String,
    pub scope: Scope,
    /// The fleet that it belongs to; it sees and touches no other.
    pub fleet: String,
    /// The only node that a peer's token speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// SHA-256 of the secret, in hexadecimal.
    pub sha256: String,
    pub made_at: Timestamp,
    /// Not valid from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A bearer token in the clear. Neither `Display` nor `Debug` shows it.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A new random token and its record.
    pub fn make(
        name: &str,
        scope: Scope,
        fleet: &str,
        node: Option<&str>,
        now: Timestamp,
    ) -> (Self, Record) {
        let id = hex::encode(rand::random::<[u8; ID_BYTES]>());
        let secret = hex::encode(rand::random::<[u8; SECRET_BYTES]>());
        let record = Record {
            name: name.to_owned(),
            scope,
            fleet: fleet.to_owned(),
            node: node.map(str::to_owned),
            sha256: hex::encode(Sha256::digest(&secret)),
            made_at: now,
            expires_at: None,
            id: id.clone(),
        };
        (Self(format!("{PREFIX}{id}_{secret}")), record)
    }

    /// For the one who is given it, and nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What somebody shows as a token, taken apart.
pub struct Presented<'a> {
    pub id: &'a str,
    secret: &'a str,
}

impl<'a> Presented<'a> {
    /// `None` where it cannot be a token.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.trim().strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |part: &str, bytes| {
            part.len() == 2 * bytes && part.bytes().all(|b| b.is_ascii_hexdigit())
        };
        (is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then_some(Self { id, secret })
    }

    /// Takes the same time wherever the two differ.
    pub fn is(&self, record: &Record, now: Timestamp) -> bool {
        let digest = hex::encode(Sha256::digest(self.secret));
        let same: bool = digest.as_bytes().ct_eq(record.sha256.as_bytes()).into();
        same && record.expires_at.is_none_or(|at| now < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_own_record_and_nobody_elses() {
        let now = Timestamp::now();
        let (token, record) = Token::make("a", Scope::Peer, "f", None, now);
        let (other, _) = Token::make("a", Scope::Peer, "f", None, now);
        assert_ne!(token.reveal(), other.reveal());
        assert!(Presented::parse(token.reveal()).unwrap().is(&record, now));
        assert!(!Presented::parse(other.reveal()).unwrap().is(&record, now));
        let last = token.reveal().len() - 1;
        let digit = if token.reveal().ends_with('0') {
            "1"
        } else {
            "0"
        };
        let near = format!("{}{digit}", &token.reveal()[..last]);
        assert!(!Presented::parse(&near).unwrap().is(&record, now));
    }

    #[test]
    fn a_token_ends() {
        let now = Timestamp::now();
        let (token, mut record) = Token::make("a", Scope::Peer, "f", None, now);
        record.expires_at = Some(now);
        assert!(!Presented::parse(token.reveal()).unwrap().is(&record, now));
    }

    #[test]
    fn what_is_kept_does_not_hold_the_secret_and_debug_shows_nothing() {
        let (token, record) = Token::make("a", Scope::Viewer, "f", None, Timestamp::now());
        let secret = token.reveal().rsplit('_').next().unwrap();
        assert!(!serde_json::to_string(&record).unwrap().contains(secret));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn other_words_are_no_tokens() {
        for word in ["", "vpt_", "vpt_abc_def", "Bearer x", "vpt_é"] {
            assert!(Presented::parse(word).is_none(), "{word}");
        }
    }
}
