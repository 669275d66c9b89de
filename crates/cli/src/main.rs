//! `vps-test`: the command line.

mod lab_command;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "vps-test", version, about = "From a peer-to-peer program's source to a proof that it connects")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot, inspect and remove the twin: the fleet on this machine
    Lab(lab_command::LabArgs),
}

fn main() -> miette::Result<std::process::ExitCode> {
    match Cli::parse().command {
        Command::Lab(args) => lab_command::run(args),
    }
}
