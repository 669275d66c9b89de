//! A peer's name.

use std::fmt;

use super::NodeName;

/// One of a node's testers of the stack, counted from 1: `saorsa-4/2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
