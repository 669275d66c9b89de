//! Small networks of real namespaces and real NATs, and testers that run in them.
//!
//! For tests only: everything panics with what went wrong. A network needs root,
//! iproute2 and nftables, and says so loudly where they are missing. Nothing of
//! it is visible outside its own namespaces, and dropping it removes them.

mod climb;
mod nat;
mod net;
mod tester;

pub use climb::{Attempted, climb, ladder, meet};
pub use nat::{Nat, PORTS};
pub use net::{Host, Net};
pub use tester::{Background, Tester};
