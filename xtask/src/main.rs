//! Every chore of this repository: `cargo xtask demo`, `test`, `lint`, `bench`,
//! `gen`, `setup`.

mod bench;
mod demo;
mod generate;
mod lint;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The chores of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From a fresh clone to a proof: install, build, boot the twin, test ant-quic on it
    Demo {
        /// Leave the twin up
        #[arg(long)]
        keep: bool,
    },
    /// Run every test, the ones in real namespaces (as root) included
    Test {
        /// Passed to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Format, clippy, licences, source rules, generated files
    Lint,
    /// Measure what the README promises, each value beside its limit
    Bench {
        /// Only the benches with these names
        names: Vec<String>,
    },
    /// Write the generated files
    Gen {
        /// Compare only; fail where one is out of date
        #[arg(long)]
        check: bool,
    },
    /// Install what demo and test need from the distribution's packages
    Setup,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo { keep } => demo::run(keep),
        Command::Test { args } => test::run(&args),
        Command::Lint => lint::run().map(|()| ExitCode::SUCCESS),
        Command::Bench { names } => bench::run(&names),
        Command::Gen { check } => generate::run(check).map(|()| ExitCode::SUCCESS),
        Command::Setup => setup::run().map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
