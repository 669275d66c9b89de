//! The payload of an attempt, both ways, over any message transport.
//!
//! A tester gives an [`Exchanger`] a [`Transport`] to send messages to the peer
//! with, and hands it every message that came from the peer. Messages may be
//! lost, repeated and reordered. The side that dialled calls
//! [`Exchanger::run`]; the other side begins by itself with the first message.
//! Chunks are length-prefixed with the whole payload's length, acknowledged one
//! by one and, when all are there, with the digest of what came.

mod driver;
mod transfer;
mod wire;

pub use driver::{Exchanger, Transport};
pub use transfer::{Settings, Transfer};
