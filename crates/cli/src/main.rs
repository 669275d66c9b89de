//! `vps-test`: the command line.

mod exit;
mod inventory_file;
mod lab_command;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "vps-test",
    version,
    about = "From a peer-to-peer program's source to a proof that it connects"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot, inspect and remove the twin: the fleet on this machine
    Lab(lab_command::LabArgs),
}

fn main() -> std::process::ExitCode {
    let result = match Cli::parse().command {
        Command::Lab(args) => lab_command::run(args),
    };
    result.unwrap_or_else(|report| {
        eprintln!("{report:?}");
        let infrastructure = report.downcast_ref::<lab::LabError>().is_some();
        std::process::ExitCode::from(if infrastructure {
            exit::INFRASTRUCTURE
        } else {
            exit::USAGE
        })
    })
}
