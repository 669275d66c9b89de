//! What must become of operations, by the documented contract alone: no network.
//!
//! The model says only what the contract settles. A request without a connection may
//! succeed (the stack dials on demand) or fail; with one it must succeed, and to a peer
//! that is stopped it must fail.

use std::collections::BTreeSet;

use super::operation::{Operation, PEERS};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Success,
    Failure,
    Either,
    /// Makes no sense now, and is left out.
    Nothing,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    running: [bool; PEERS],
    /// Unordered, the lower one first.
    connected: BTreeSet<(usize, usize)>,
}

impl Model {
    pub fn is_running(&self, peer: usize) -> bool {
        self.running[peer]
    }

    pub fn expects(&self, operation: Operation) -> Expected {
        match operation {
            Operation::Start(peer) if self.running[peer] => Expected::Nothing,
            Operation::Start(_) => Expected::Success,
            Operation::Stop(peer) | Operation::Health(peer) if self.running[peer] => {
                Expected::Success
            }
            Operation::Stop(_) | Operation::Health(_) => Expected::Nothing,
            Operation::Connect { from, .. }
            | Operation::Disconnect { from, .. }
            | Operation::Request { from, .. }
                if !self.running[from] =>
            {
                Expected::Nothing
            }
            Operation::Connect { to, .. } if self.running[to] => Expected::Success,
            Operation::Connect { .. } => Expected::Failure,
            Operation::Disconnect { from, to } if self.are_connected(from, to) => Expected::Success,
            Operation::Disconnect { .. } => Expected::Nothing,
            Operation::Request { from, to, .. } => {
                match (self.running[to], self.are_connected(from, to)) {
                    (false, _) => Expected::Failure,
                    (true, true) => Expected::Success,
                    (true, false) => Expected::Either,
                }
            }
        }
    }

    /// Takes in what was done, and whether it succeeded.
    pub fn apply(&mut self, operation: Operation, succeeded: bool) {
        match operation {
            Operation::Start(peer) => self.running[peer] = succeeded,
            Operation::Stop(peer) => {
                self.running[peer] = false;
                self.connected.retain(|(a, b)| *a != peer && *b != peer);
            }
            Operation::Connect { from, to } | Operation::Request { from, to, .. } if succeeded => {
                self.connected.insert(pair(from, to));
            }
            Operation::Disconnect { from, to } => {
                self.connected.remove(&pair(from, to));
            }
            _ => {}
        }
    }

    fn are_connected(&self, a: usize, b: usize) -> bool {
        self.connected.contains(&pair(a, b))
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_both_and_a_stop_ends_connections() {
        let mut model = Model::default();
        let ask = Operation::Request {
            from: 0,
            to: 1,
            bytes: 1,
        };
        let dial = Operation::Connect { from: 1, to: 0 };
        assert_eq!(model.expects(ask), Expected::Nothing);
        model.apply(Operation::Start(0), true);
        assert_eq!(model.expects(ask), Expected::Failure);
        model.apply(Operation::Start(1), true);
        assert_eq!(model.expects(ask), Expected::Either);
        model.apply(dial, true);
        assert_eq!(model.expects(ask), Expected::Success);
        model.apply(Operation::Stop(1), true);
        assert_eq!(model.expects(ask), Expected::Failure);
        model.apply(Operation::Start(1), true);
        assert_eq!(model.expects(ask), Expected::Either);
    }
}
