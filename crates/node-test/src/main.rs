//! saorsa-node behind the agent protocol: a devnet of real nodes, one a host.
//!
//! The crate `saorsa-node` goes on as `ant-node`, by the same author; this links the
//! newest release of it. Its last release by the old name stands on an older
//! saorsa-core under AGPL-3.0 and cannot be in one lock file with the newest.

mod chunks;
#[cfg(test)]
mod loopback;
mod node;
mod steps;
mod tester;

fn main() -> std::process::ExitCode {
    agent::main(tester::NodeTester::default())
}
