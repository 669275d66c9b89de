//! `vps-test history` and `vps-test compare`: what was, and what changed.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use miette::IntoDiagnostic;
use model::compare::compare;

use crate::runs;
use crate::screen::{self, Paint};

#[derive(Debug, Args)]
pub struct HistoryArgs {
    project: String,
    /// How many, counted from the newest
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: usize,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// PROJECT for its newest run, PROJECT~1 for the one before, PROJECT/RUN, or a run's directory
    #[arg(value_name = "RUN")]
    before: String,
    /// The same; without it, PROJECT is compared with PROJECT~1
    #[arg(value_name = "RUN")]
    after: Option<String>,
    #[arg(long)]
    json: bool,
}

pub fn history(args: HistoryArgs) -> miette::Result<ExitCode> {
    let state_dir = runs::state_dir()?;
    let known = runs::known(&state_dir, &args.project)?;
    let skip = known.len().saturating_sub(args.lines);
    let rows: Vec<screen::history::Row> = known[skip..]
        .iter()
        .map(|dir| screen::history::Row::of(dir.name(), dir.replay()))
        .collect();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows).into_diagnostic()?);
    } else {
        let view = screen::history::View {
            now: Timestamp::now(),
            zone: &TimeZone::system(),
            paint: Paint::detect(),
        };
        print!("{}", view.render(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

pub fn compare_runs(args: CompareArgs) -> miette::Result<ExitCode> {
    let state_dir = runs::state_dir()?;
    let (before, after) = match args.after {
        Some(after) => (args.before, after),
        None => (format!("{}~1", args.before), args.before),
    };
    let old = runs::replay(&runs::find(&state_dir, &before)?)?;
    let new = runs::replay(&runs::find(&state_dir, &after)?)?;
    let comparison = compare(&old, &new);
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&comparison).into_diagnostic()?
        );
    } else {
        print!(
            "{}",
            screen::compare::render(&comparison, [&before, &after], Paint::detect())
        );
    }
    Ok(ExitCode::SUCCESS)
}
