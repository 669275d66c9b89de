//! What testers tell one another from step to step.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use model::protocol::Perform;
use saorsa_gossip_types::PeerId;
use serde::{Deserialize, Serialize};

use crate::crdt::Edit;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// The peer id, in hex.
    pub peer: String,
    /// The outer addresses that coordinators see.
    pub addresses: Vec<SocketAddr>,
    /// Nobody translates its address.
    pub public: bool,
    /// When it left in good order, in milliseconds since 1970.
    pub left_ms: Option<f64>,
    pub published: Option<Published>,
    /// By message: the node that the first copy came from.
    pub first_copy: BTreeMap<String, String>,
    /// The nodes in its active view.
    pub view: Option<Vec<String>>,
    pub edits: Vec<Edit>,
    /// By CRDT: what it ended as.
    pub states: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub messages: u32,
    pub bytes: usize,
}

impl Said {
    pub fn peer_id(&self) -> Option<PeerId> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.peer, &mut bytes).ok()?;
        Some(PeerId::new(bytes))
    }

    pub fn is_here(&self) -> bool {
        self.left_ms.is_none() && !self.peer.is_empty()
    }
}

/// What every other node has last said, by node. One that said nothing that we
/// understand has not joined.
pub fn fellows(call: &Perform) -> BTreeMap<String, Said> {
    call.fellows
        .iter()
        .filter_map(|fellow| {
            let said = serde_json::from_value(fellow.said.clone()).ok()?;
            Some((fellow.node.clone(), said))
        })
        .collect()
}

/// Whether a cut lies between two nodes.
pub fn are_separated(call: &Perform, one: &str, other: &str) -> bool {
    let is_cut_off = |node: &str| call.cut_off.iter().any(|cut| cut == node);
    is_cut_off(one) != is_cut_off(other)
}

pub fn is_absent(call: &Perform, node: &str) -> bool {
    call.absent.iter().any(|absent| absent == node)
}
