//! communitas-mcp, as a program of its own, behind the agent protocol.

mod client;
mod daemon;
mod program;
mod raw;
mod suite;
mod tester;

fn main() -> std::process::ExitCode {
    agent::main(tester::CommunitasTester::default())
}
