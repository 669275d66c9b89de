//! ant-quic behind the agent protocol.

mod announce;
mod attempt;
mod claim;
mod coordinator;
mod dial;
mod link;
mod load;
mod node;
mod sight;
mod tester;

fn main() -> std::process::ExitCode {
    if let Err(error) = gossip_test::forget_cache() {
        eprintln!("cannot start again without a cache directory: {error}");
        return std::process::ExitCode::FAILURE;
    }
    agent::main(tester::QuicTester::default())
}
