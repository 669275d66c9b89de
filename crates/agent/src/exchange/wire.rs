//! The messages of an exchange. Integers are big-endian.

/// Longest payload that a receiver makes room for.
pub(super) const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// What a data message carries besides its chunk.
pub(super) const DATA_HEADER: usize = 1 + 8 + 4 + 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// A piece of the payload.
    Data {
        /// Length of the whole payload.
        total: u64,
        /// Length of every chunk but the last.
        chunk: u32,
        index: u32,
        bytes: Vec<u8>,
    },
    /// Every chunk below `base` is here, and `base + 1 + i` for every bit `i`.
    Ack { base: u32, beyond: u64 },
    /// The whole payload is here and this is its SHA-256.
    Done { sha256: [u8; 32] },
    /// `Done` was heard: no need to repeat it.
    Heard,
}

impl Message {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Data {
                total,
                chunk,
                index,
                bytes,
            } => {
                let mut out = Vec::with_capacity(DATA_HEADER + bytes.len());
                out.push(0);
                out.extend_from_slice(&total.to_be_bytes());
                out.extend_from_slice(&chunk.to_be_bytes());
                out.extend_from_slice(&index.to_be_bytes());
                out.extend_from_slice(bytes);
                out
            }
            Self::Ack { base, beyond } => {
                let mut out = vec![1];
                out.extend_from_slice(&base.to_be_bytes());
                out.extend_from_slice(&beyond.to_be_bytes());
                out
            }
            Self::Done { sha256 } => [&[2], sha256.as_slice()].concat(),
            Self::Heard => vec![3],
        }
    }

    /// `None` for what is no message; strangers' noise is not an error.
    pub fn decode(message: &[u8]) -> Option<Self> {
        let (kind, rest) = message.split_first()?;
        match kind {
            0 => {
                let (total, rest) = rest.split_first_chunk()?;
                let (chunk, rest) = rest.split_first_chunk()?;
                let (index, bytes) = rest.split_first_chunk()?;
                Some(Self::Data {
                    total: u64::from_be_bytes(*total),
                    chunk: u32::from_be_bytes(*chunk),
                    index: u32::from_be_bytes(*index),
                    bytes: bytes.to_vec(),
                })
            }
            1 => {
                let (base, rest) = rest.split_first_chunk()?;
                Some(Self::Ack {
                    base: u32::from_be_bytes(*base),
                    beyond: u64::from_be_bytes(rest.try_into().ok()?),
                })
            }
            2 => Some(Self::Done {
                sha256: rest.try_into().ok()?,
            }),
            3 if rest.is_empty() => Some(Self::Heard),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_comes_back() {
        let messages = [
            Message::Data {
                total: 1 << 40,
                chunk: 1100,
                index: 7,
                bytes: vec![1, 2, 3],
            },
            Message::Ack {
                base: 9,
                beyond: 0b101,
            },
            Message::Done { sha256: [7; 32] },
            Message::Heard,
        ];
        for message in messages {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    proptest::proptest! {
        #[test]
        fn noise_does_no_harm(noise: Vec<u8>) {
            let _ = Message::decode(&noise);
        }
    }
}
