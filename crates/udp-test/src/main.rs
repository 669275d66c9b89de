//! Plain UDP behind the agent protocol: the reference that must agree with
//! theory before any stack is tried, and the prober that measures NATs.

mod attempt;
mod coordinator;
mod load;
mod probe;
mod punch;
mod reflect;
mod stun;
mod tester;
mod wire;

fn main() -> std::process::ExitCode {
    agent::main(tester::UdpTester::default())
}
