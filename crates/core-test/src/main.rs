//! saorsa-core behind the agent protocol: suites of steps, no attempts.

mod integration;
#[cfg(test)]
mod loopback;
mod peer;
mod property;
mod tester;
mod unit;

fn main() -> std::process::ExitCode {
    agent::main(tester::CoreTester::default())
}
