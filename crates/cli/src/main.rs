//! `vps-test`: the command line.

#[cfg(target_os = "linux")]
mod bench;
mod confirm;
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
mod nat;
mod nodes;
mod project;
mod repro;
mod resume;
mod running;
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
mod verify;

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
    Start(Box<start::StartArgs>),
    /// Go on with a project's newest run, wherever it was stopped or killed
    Resume(resume::ResumeArgs),
    /// Go on with a run that waits in FIX: you have mended what failed
    Fixed(resume::ResumeArgs),
    /// Judge a run again, offline, from its journal alone
    Verify(verify::VerifyArgs),
    /// Sign a run that has ended with your SSH key
    Sign(verify::SignArgs),
    /// Confirm or reject a run that waits for a person (proof mode manual-verify)
    Confirm(confirm::ConfirmArgs),
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
    /// Write and run the smallest twin that shows a failed attempt again
    Repro(repro::ReproArgs),
    /// List the nodes and whether they answer
    Nodes(nodes::NodesArgs),
    /// Look at one node over SSH, and say what is wrong and what to do about it
    Diagnose(diagnose::DiagnoseArgs),
    /// Remove everything that was ever installed on the nodes, or on one
    Clean(nodes::CleanArgs),
    /// Make, measure, rebind and remove NAT boxes
    Nat(nat::NatArgs),
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
        Command::Start(args) => start::run(*args),
        Command::Resume(args) => resume::run(&args, engine::How::AsItWas),
        Command::Fixed(args) => resume::run(&args, engine::How::Fixed),
        Command::Verify(args) => verify::run(&args),
        Command::Sign(args) => verify::sign(args),
        Command::Confirm(args) => confirm::run(args),
        Command::Status(args) => status::run(args),
        Command::Stop(args) => stop::run(args),
        Command::Logs(args) => logs::run(args),
        Command::History(args) => history::history(args),
        Command::Compare(args) => history::compare_runs(args),
        Command::Repro(args) => repro::run(&args),
        Command::Nodes(args) => nodes::run(args),
        Command::Diagnose(args) => diagnose::run(args),
        Command::Clean(args) => nodes::clean(args),
        Command::Nat(args) => nat::run(args),
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

#[cfg(test)]
mod tests {
    use super::*;

    const SKILL: &str = include_str!("../../../.claude/skills/vps-test/SKILL.md");

    /// Everything that stands in a block of commands, or in backticks as a command.
    fn command_lines() -> Vec<String> {
        let in_backticks = SKILL
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::trim)
            .filter(|text| text.starts_with("vps-test ") && !text.contains('\n'));
        let in_blocks = SKILL
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("vps-test "));
        in_backticks.chain(in_blocks).map(str::to_owned).collect()
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_line_of_the_skill_is_understood() {
        let lines = command_lines();
        assert!(lines.len() >= 9, "{lines:?}");
        for line in &lines {
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        for command in ["start", "status", "stop", "logs", "diagnose", "nodes"] {
            let is_there = |line: &String| line.split_whitespace().nth(1) == Some(command);
            assert!(lines.iter().any(is_there), "the skill lacks {command}");
        }
    }

    #[test]
    fn the_skill_asks_what_the_interview_asks() {
        use model::config::{Choice, CriteriaMode, Focus, ProofMode};
        fn is_asked<T: Choice>() {
            assert!(SKILL.contains(T::HEADER) && SKILL.contains(T::QUESTION));
            for (_, word, _) in T::ALL {
                assert!(SKILL.contains(&format!("`{word}`")), "{word}");
            }
        }
        is_asked::<Focus>();
        is_asked::<CriteriaMode>();
        is_asked::<ProofMode>();
        // What it may pass on is what `start` takes.
        for (_, focus, _) in Focus::ALL {
            let words = [
                "vps-test",
                "start",
                "ant-quic",
                focus,
                "threshold",
                "logs",
                "--yes",
            ];
            assert!(Cli::try_parse_from(words).is_ok());
        }
    }
}
