//! The datagrams of `udp-test`: JSON for control, a short frame for payload.
//!
//! A request to a coordinator is padded, and no answer is longer than its
//! request, so that a coordinator amplifies nothing.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Length of every request to a coordinator. No control message is longer.
pub const REQUEST_BYTES: usize = 320;
/// Longest payload datagram; goes through every link that carries QUIC.
pub const DATAGRAM_BYTES: usize = 1200;
/// What a payload frame adds to a message.
pub const FRAME_BYTES: usize = 1 + 16;
/// No JSON begins with this.
const FRAME: u8 = 0xD7;

/// Ties an answer to its request; nobody off the path can guess it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(u64);

impl Nonce {
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// Proves that a datagram is from one named peer to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag([u8; 16]);

impl Tag {
    pub fn new(from: &str, to: &str) -> Self {
        let digest = Sha256::new()
            .chain_update("udp-test")
            .chain_update((from.len() as u64).to_be_bytes())
            .chain_update(from)
            .chain_update(to)
            .finalize();
        let mut tag = [0; 16];
        tag.copy_from_slice(&digest[..16]);
        Self(tag)
    }
}

impl Serialize for Tag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut tag = [0; 16];
        hex::decode_to_slice(text, &mut tag).map_err(serde::de::Error::custom)?;
        Ok(Self(tag))
    }
}

/// Who is to answer a [`Message::Reflect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answerer {
    /// The port that was asked.
    Asked,
    /// The other port of the same host.
    OtherPort,
    /// The coordinator at this address.
    Partner(SocketAddr),
    /// The port that was asked, after so many milliseconds.
    Later(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Client → coordinator: where do I come from?
    Reflect {
        nonce: Nonce,
        answerer: Answerer,
    },
    /// The answerer → client.
    Reflected {
        nonce: Nonce,
        address: SocketAddr,
    },
    /// Asked coordinator → client: another answerer has sent its answer.
    AnswerSent {
        nonce: Nonce,
    },
    /// Asked coordinator → client: the answer will come when it is due.
    AnswerPromised {
        nonce: Nonce,
    },
    /// Asked coordinator → client: it does not work with that partner.
    NoSuchPartner {
        nonce: Nonce,
    },

    /// Coordinator → partner: give me a cookie to ask you with.
    Greet {
        nonce: Nonce,
    },
    Greeted {
        nonce: Nonce,
        cookie: Nonce,
    },
    /// Coordinator → partner: answer this client. Only with your cookie.
    Forward {
        cookie: Nonce,
        nonce: Nonce,
        client: SocketAddr,
    },
    /// Partner → coordinator: done.
    Forwarded {
        nonce: Nonce,
        client: SocketAddr,
    },

    /// Peer → peer, all through a rung.
    Probe {
        tag: Tag,
    },
    /// Peer → peer: your probe came, from this address.
    Answer {
        tag: Tag,
        seen: SocketAddr,
    },

    /// A prober to itself, by way of its own outer address.
    Hairpin {
        nonce: Nonce,
    },
}

impl Message {
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As long as a request must be.
    pub fn encode_padded(&self) -> Vec<u8> {
        let mut datagram = self.encode();
        datagram.resize(datagram.len().max(REQUEST_BYTES), b' ');
        datagram
    }

    /// `None` for anything else, however malformed.
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        serde_json::from_slice(datagram).ok()
    }
}

/// A piece of an exchange, from one named peer to another.
pub fn frame(tag: Tag, message: &[u8]) -> Vec<u8> {
    [&[FRAME], tag.0.as_slice(), message].concat()
}

/// The message of a frame with this tag.
pub fn unframe(tag: Tag, datagram: &[u8]) -> Option<&[u8]> {
    let rest = datagram.strip_prefix(&[FRAME])?;
    rest.strip_prefix(tag.0.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_message_outgrows_a_request() {
        let longest: SocketAddr = "[fd00:1111:2222:3333:4444:5555:6666:7777]:65535"
            .parse()
            .unwrap();
        let nonce = Nonce(u64::MAX);
        let messages = [
            Message::Reflect {
                nonce,
                answerer: Answerer::Partner(longest),
            },
            Message::Reflected {
                nonce,
                address: longest,
            },
            Message::Forward {
                cookie: nonce,
                nonce,
                client: longest,
            },
            Message::Answer {
                tag: Tag::new("a", "b"),
                seen: longest,
            },
        ];
        for message in messages {
            assert!(message.encode().len() <= REQUEST_BYTES);
            let padded = message.encode_padded();
            assert_eq!(padded.len(), REQUEST_BYTES);
            assert_eq!(Message::decode(&padded), Some(message));
        }
    }

    #[test]
    fn a_tag_has_a_direction() {
        assert_ne!(Tag::new("a", "b"), Tag::new("b", "a"));
        assert_ne!(Tag::new("a", "bc"), Tag::new("ab", "c"));
    }

    #[test]
    fn frames_of_strangers_are_not_opened() {
        let datagram = frame(Tag::new("a", "b"), b"x");
        assert_eq!(unframe(Tag::new("a", "b"), &datagram), Some(&b"x"[..]));
        assert_eq!(unframe(Tag::new("c", "b"), &datagram), None);
        assert_eq!(Message::decode(&datagram), None);
    }
}
