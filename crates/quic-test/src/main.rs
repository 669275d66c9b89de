//! ant-quic behind the agent protocol.

mod announce;
mod attempt;
mod claim;
mod coordinator;
mod dial;
mod link;
mod node;
mod sight;
mod tester;

fn main() -> std::process::ExitCode {
    agent::main(tester::QuicTester)
}
