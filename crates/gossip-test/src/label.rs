//! A message that says who sent it, when, and what its bytes must be.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    pub session: String,
    pub from: String,
    pub index: u32,
    /// In milliseconds since 1970, by the publisher's clock.
    pub sent_ms: f64,
}

impl Label {
    /// Names the message among those of its session.
    pub fn key(&self) -> String {
        format!("{}/{}", self.from, self.index)
    }

    pub fn message(&self, bytes: usize) -> Vec<u8> {
        let mut message = serde_json::to_vec(self).unwrap_or_default();
        message.push(b'\n');
        message.extend(model::payload::bytes(&self.seed(), bytes));
        message
    }

    /// The label of a message, and what follows it.
    pub fn read(message: &[u8]) -> Option<(Self, &[u8])> {
        let end = message.iter().position(|byte| *byte == b'\n')?;
        let label = serde_json::from_slice(&message[..end]).ok()?;
        Some((label, &message[end + 1..]))
    }

    /// The receiver works the bytes out for itself; only their digests are compared.
    pub fn is_body(&self, body: &[u8], bytes: usize) -> bool {
        model::payload::sha256_hex(body) == model::payload::digest(&self.seed(), bytes)
    }

    fn seed(&self) -> String {
        format!("{}/{}/{}", self.session, self.from, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label {
            session: "broadcast-0.0-0000".into(),
            from: "saorsa-4".into(),
            index: 3,
            sent_ms: 1.5,
        }
    }

    #[test]
    fn a_message_comes_back() {
        let message = label().message(100);
        let (read, body) = Label::read(&message).unwrap();
        assert_eq!(read, label());
        assert!(read.is_body(body, 100));
    }

    #[test]
    fn a_changed_byte_and_another_length_are_noticed() {
        let mut message = label().message(100);
        *message.last_mut().unwrap() ^= 1;
        let (read, body) = Label::read(&message).unwrap();
        assert!(!read.is_body(body, 100));
        assert!(!read.is_body(&body[..99], 100));
    }

    #[test]
    fn what_is_no_message_of_ours_has_no_label() {
        assert_eq!(Label::read(b"anti-entropy"), None);
        assert_eq!(Label::read(b"{}\n"), None);
    }
}
