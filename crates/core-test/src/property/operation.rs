//! What a peer can be told to do, and how lists of it come about.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// Peers of one case.
pub const PEERS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Start(usize),
    Stop(usize),
    /// `from` dials the address of `to`.
    Connect {
        from: usize,
        to: usize,
    },
    Disconnect {
        from: usize,
        to: usize,
    },
    Request {
        from: usize,
        to: usize,
        bytes: usize,
    },
    Health(usize),
}

impl Operation {
    /// Its name in the measures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Connect { .. } => "connect",
            Self::Disconnect { .. } => "disconnect",
            Self::Request { .. } => "request",
            Self::Health(_) => "health",
        }
    }
}

/// Requests most often, as they say most; sizes around the boundaries of packets.
pub fn sequence(length: usize) -> impl Strategy<Value = Vec<Operation>> {
    let pair = || (0..PEERS, 1..PEERS).prop_map(|(from, further)| (from, (from + further) % PEERS));
    let bytes = prop_oneof![Just(0), Just(1), 1100..1300usize, Just(65_536)];
    let one = prop_oneof![
        3 => (0..PEERS).prop_map(Operation::Start),
        1 => (0..PEERS).prop_map(Operation::Stop),
        3 => pair().prop_map(|(from, to)| Operation::Connect { from, to }),
        1 => pair().prop_map(|(from, to)| Operation::Disconnect { from, to }),
        4 => (pair(), bytes, any::<bool>()).prop_map(|((from, to), bytes, turn)| {
            let (from, to) = if turn { (to, from) } else { (from, to) };
            Operation::Request { from, to, bytes }
        }),
        1 => (0..PEERS).prop_map(Operation::Health),
    ];
    // Two peers at least, or hardly anything can be done.
    vec(one, 1..=length).prop_map(|then| {
        let first = [Operation::Start(0), Operation::Start(1)];
        first.into_iter().chain(then).collect()
    })
}

/// For people: `start 0, start 1, connect 0→1`.
pub fn write(operations: &[Operation]) -> String {
    let words = operations.iter().map(|operation| match operation {
        Operation::Start(peer) => format!("start {peer}"),
        Operation::Stop(peer) => format!("stop {peer}"),
        Operation::Connect { from, to } => format!("connect {from}→{to}"),
        Operation::Disconnect { from, to } => format!("disconnect {from}→{to}"),
        Operation::Request { from, to, bytes } => format!("request {from}→{to} {bytes} B"),
        Operation::Health(peer) => format!("health {peer}"),
    });
    words.collect::<Vec<_>>().join(", ")
}
