//! saorsa-node behind the agent protocol: a devnet of real nodes, one a host.

mod chunks;
mod node;
mod steps;
mod tester;

fn main() -> std::process::ExitCode {
    agent::main(tester::NodeTester::default())
}
