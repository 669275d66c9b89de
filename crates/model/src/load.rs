//! The suite `throughput`: what testers are asked to send, and what they say of it.
//!
//! A transfer is three steps on an attempt whose connection is there: the receiver
//! gets `receive`, the sender `send`, and the receiver `received`.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::payload;

pub const RECEIVE: &str = "receive";
pub const SEND: &str = "send";
pub const RECEIVED: &str = "received";

/// How much is sent, and over how many pairs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Ordered pairs of nodes; of every category and class of latency some.
    pub pairs: u32,
    /// Streams at once, one transfer for each number.
    pub streams: Vec<u16>,
    /// That a sender sends for, in each transfer.
    pub seconds: u64,
}

/// What carries a transfer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The attempt's own connection.
    #[default]
    Connection,
    /// Plain TCP to this address, dialled by the side that is told one; the other
    /// accepts on the attempt's port. Only `udp-test` is asked for it.
    Tcp(Option<SocketAddr>),
}

/// Parameters of [`RECEIVE`]: make ready and return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    pub streams: u16,
    #[serde(default)]
    pub over: Over,
}

/// Parameters of [`SEND`]: as much as goes through, on all streams at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send {
    /// One a stream. The receiver is not told them.
    pub seeds: Vec<String>,
    pub seconds: u64,
    #[serde(default)]
    pub over: Over,
}

/// Said after [`SEND`], once everything was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Processor time of the sender's process meanwhile.
    pub cpu_ms: f64,
    /// `None` where the stack does not say.
    pub packets: Option<Packets>,
}

/// As the stack itself counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    pub sent: u64,
    pub lost: u64,
}

/// Said after [`RECEIVED`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrived {
    /// In any order.
    pub streams: Vec<Stream>,
    /// From the first byte to the last.
    pub elapsed_ms: f64,
    /// Processor time of the receiver's process since [`RECEIVE`].
    pub cpu_ms: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub bytes: u64,
    /// `None` for datagrams, some of which are lost.
    pub sha256: Option<String>,
}

impl Arrived {
    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.bytes).sum()
    }

    /// Datagrams have none: some of them are lost.
    pub fn has_digests(&self) -> bool {
        self.streams.iter().any(|stream| stream.sha256.is_some())
    }

    /// Whether it came in the time that it was sent for, or longer. A receiver that
    /// says that it took less makes a rate that nobody reached.
    pub fn took_its_time(&self, seconds: u64) -> bool {
        const LEAST: f64 = 0.5;
        #[expect(clippy::cast_precision_loss, reason = "seconds of a transfer")]
        let sent_for_ms = seconds as f64 * 1e3;
        self.elapsed_ms >= LEAST * sent_for_ms
    }

    pub fn megabits_per_second(&self) -> f64 {
        gigabits(self.bytes()) * 1e6 / self.elapsed_ms.max(0.001)
    }

    /// Whether each stream is what one of these seeds makes, and every seed has one.
    /// What has no digest is not.
    pub fn is_what_was_sent(&self, seeds: &[String]) -> bool {
        let mut left: Vec<&Stream> = self.streams.iter().collect();
        let all_found = seeds.iter().all(|seed| {
            let place = left.iter().position(|stream| {
                stream.bytes > 0 && stream.sha256.as_deref() == Some(&*digest(seed, stream.bytes))
            });
            place.map(|place| left.remove(place)).is_some()
        });
        all_found && left.is_empty()
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
pub fn gigabits(bytes: u64) -> f64 {
    bytes as f64 * 8.0 / 1e9
}

/// A stream is this many bytes of its seed's payload, over and over.
const BLOCK: usize = 256 * 1024;

pub fn block(seed: &str) -> Vec<u8> {
    payload::bytes(seed, BLOCK)
}

/// Of the first so many bytes of a stream.
pub fn digest(seed: &str, bytes: u64) -> String {
    let block = block(seed);
    let mut hash = Sha256::new();
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        hash.update(&block[..now]);
        left -= now as u64;
    }
    hex::encode(hash.finalize())
}

/// Round trips that are alike enough to stand for each other.
pub fn latency_class(round_trip_ms: f64) -> usize {
    const UP_TO_MS: [f64; 3] = [20.0, 80.0, 160.0];
    UP_TO_MS
        .iter()
        .filter(|limit| round_trip_ms > **limit)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: &str, bytes: usize) -> Stream {
        let sent: Vec<u8> = block(seed).into_iter().cycle().take(bytes).collect();
        Stream {
            bytes: bytes as u64,
            sha256: Some(payload::sha256_hex(&sent)),
        }
    }

    fn arrived(streams: Vec<Stream>) -> Arrived {
        Arrived {
            streams,
            elapsed_ms: 500.0,
            cpu_ms: 1.0,
        }
    }

    #[test]
    fn streams_come_in_any_order_and_each_once() {
        let seeds = ["a".to_owned(), "b".to_owned()];
        let (a, b) = (stream("a", BLOCK + 7), stream("b", 3));
        let is_right = |streams| arrived(streams).is_what_was_sent(&seeds);
        assert!(is_right(vec![b.clone(), a.clone()]));
        assert!(!is_right(vec![a.clone(), a.clone()]));
        assert!(!is_right(vec![a.clone()]));
        assert!(!is_right(vec![a.clone(), b.clone(), b.clone()]));
        let cut = Stream {
            bytes: a.bytes - 1,
            ..a
        };
        assert!(!is_right(vec![cut, b]), "a length that is not the digest's");
    }

    #[test]
    fn nothing_that_came_is_nothing_that_was_sent() {
        assert!(!arrived(vec![stream("a", 0)]).is_what_was_sent(&["a".to_owned()]));
    }

    #[test]
    fn bytes_without_a_digest_are_nobodys_word() {
        let datagrams = arrived(vec![Stream {
            bytes: 1200,
            sha256: None,
        }]);
        assert!(!datagrams.is_what_was_sent(&["a".to_owned()]) && !datagrams.has_digests());
    }

    #[test]
    fn what_was_sent_for_a_second_does_not_come_in_a_blink() {
        let came = |elapsed_ms| Arrived {
            elapsed_ms,
            ..arrived(vec![stream("a", BLOCK)])
        };
        assert!(came(980.0).took_its_time(1) && came(3000.0).took_its_time(1));
        assert!(!came(10.0).took_its_time(1));
        assert!(came(0.0).took_its_time(0), "one block, as fast as it goes");
    }

    #[test]
    fn goodput_is_what_came_by_the_time_it_took() {
        let came = arrived(vec![Stream {
            bytes: 1_000_000,
            sha256: None,
        }]);
        assert!((came.megabits_per_second() - 16.0).abs() < 1e-9);
    }
}
