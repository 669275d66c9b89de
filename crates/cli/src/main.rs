//! `vps-test`: the command line.

#[cfg(target_os = "linux")]
mod bench;
mod detach;
mod diagnose;
mod exit;
mod ground;
mod history;
mod interview;
mod inventory_file;
#[cfg(target_os = "linux")]
mod lab_command;
mod logs;
mod nodes;
mod project;
mod resume;
mod runs;
mod screen;
mod start;
mod started;
mod status;
mod stop;
#[cfg(target_os = "linux")]
mod twin;
#[cfg(not(target_os = "linux"))]
#[path = "no_twin.rs"]
mod twin;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "vps-test",
    version,
    about = "From a peer-to-peer program's source to a proof that it connects",
    after_help = exit::HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build, deploy, test and judge a project; leave a proof
    Start(start::StartArgs),
    /// Go on with a project's newest run, wherever it was stopped or killed
    Resume(resume::ResumeArgs),
    /// Go on with a run that waits in FIX: you have mended what failed
    Fixed(resume::ResumeArgs),
    /// Show every loop: its state, what is next and when, and what came out so far
    Status(status::StatusArgs),
    /// End a run in order
    Stop(stop::StopArgs),
    /// Tell what a run did, or show what a node's services logged
    Logs(logs::LogsArgs),
    /// List a project's runs and what each came to
    History(history::HistoryArgs),
    /// Hold one run against another: criteria, cells that changed, times to connect
    Compare(history::CompareArgs),
    /// List the nodes and whether they answer
    Nodes(nodes::NodesArgs),
    /// Look at one node over SSH, and say what is wrong and what to do about it
    Diagnose(diagnose::DiagnoseArgs),
    /// Remove everything that was ever installed on the nodes, or on one
    Clean(nodes::CleanArgs),
    /// Boot, inspect and remove the twin: the fleet on this machine
    #[cfg(target_os = "linux")]
    Lab(lab_command::LabArgs),
    /// Measure what the README promises
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Start(args) => start::run(args),
        Command::Resume(args) => resume::run(args, engine::How::AsItWas),
        Command::Fixed(args) => resume::run(args, engine::How::Fixed),
        Command::Status(args) => status::run(args),
        Command::Stop(args) => stop::run(args),
        Command::Logs(args) => logs::run(args),
        Command::History(args) => history::history(args),
        Command::Compare(args) => history::compare_runs(args),
        Command::Nodes(args) => nodes::run(args),
        Command::Diagnose(args) => diagnose::run(args),
        Command::Clean(args) => nodes::clean(args),
        #[cfg(target_os = "linux")]
        Command::Lab(args) => lab_command::run(args),
        #[cfg(target_os = "linux")]
        Command::Bench(args) => bench::run(&args),
    };
    result.unwrap_or_else(|report| {
        eprintln!("{report:?}");
        ExitCode::from(exit::of(&report))
    })
}
