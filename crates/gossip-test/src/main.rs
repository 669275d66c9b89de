//! saorsa-gossip behind the agent protocol.

fn main() -> std::process::ExitCode {
    if let Err(error) = gossip_test::forget_cache() {
        eprintln!("cannot start again without a cache directory: {error}");
        return std::process::ExitCode::FAILURE;
    }
    agent::main(gossip_test::GossipTester::default())
}
