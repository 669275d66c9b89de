//! A peer's name.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NodeName;

/// One of a node's testers, counted from 1: `saorsa-4/2`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PeerId {
    pub node: NodeName,
    pub number: u16,
}

impl PeerId {
    pub fn new(node: NodeName, number: u16) -> Self {
        Self { node, number }
    }

    /// The only one, where a node has one.
    pub fn first(node: NodeName) -> Self {
        Self::new(node, 1)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.node, self.number))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not NODE/NUMBER, such as saorsa-4/2")]
pub struct NotAPeer(String);

impl FromStr for PeerId {
    type Err = NotAPeer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not = || NotAPeer(text.to_owned());
        let (node, number) = text.split_once('/').ok_or_else(not)?;
        match number.parse() {
            Ok(number) if number > 0 && !node.is_empty() => {
                Ok(Self::new(NodeName::new(node), number))
            }
            _ => Err(not()),
        }
    }
}

impl TryFrom<String> for PeerId {
    type Error = NotAPeer;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PeerId> for String {
    fn from(peer: PeerId) -> Self {
        peer.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_its_node_and_a_number_from_one() {
        let peer: PeerId = "saorsa-4/2".parse().unwrap();
        assert_eq!(peer, PeerId::new(NodeName::new("saorsa-4"), 2));
        assert_eq!(peer.to_string(), "saorsa-4/2");
        for wrong in ["saorsa-4", "saorsa-4/0", "/1", "a/b", "a/1/2"] {
            assert!(wrong.parse::<PeerId>().is_err(), "{wrong}");
        }
    }
}
