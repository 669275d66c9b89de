//! `vps-test status`: every loop and where it stands, from run directories alone.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use miette::IntoDiagnostic;

use crate::runs::{self, Loop};
use crate::screen::{self, Paint};

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this project
    project: Option<String>,
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print an array of objects; with --watch, one line for each change
    #[arg(long)]
    json: bool,
}

const EVERY: Duration = Duration::from_secs(1);

pub fn run(args: StatusArgs) -> miette::Result<ExitCode> {
    let state_dir = runs::state_dir()?;
    if let Some(project) = &args.project {
        Loop::of(&state_dir, project, Timestamp::now())
            .map_or_else(|| runs::known(&state_dir, project).map(drop), |_| Ok(()))?;
    }
    if args.watch {
        return watch(&args, &state_dir);
    }
    println!("{}", shown(&args, &state_dir)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// On a terminal the screen is drawn again; elsewhere, what changed is printed.
fn watch(args: &StatusArgs, state_dir: &Path) -> miette::Result<ExitCode> {
    let redraws = !args.json && std::io::stdout().is_terminal();
    let mut before = String::new();
    loop {
        let now = shown(args, state_dir)?;
        let changed = now != before;
        let mut out = std::io::stdout().lock();
        let written = match (redraws, changed) {
            (true, _) => write!(
                out,
                "\x1b[H\x1b[2J{now}\n(Ctrl-C ends this, not the runs)\n"
            ),
            (false, true) => writeln!(out, "{}", now.trim_end()),
            (false, false) => Ok(()),
        };
        if written.and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::SUCCESS); // nobody reads any more
        }
        drop(out);
        before = now;
        std::thread::sleep(EVERY);
    }
}

fn shown(args: &StatusArgs, state_dir: &Path) -> miette::Result<String> {
    let now = Timestamp::now();
    let loops = match &args.project {
        Some(project) => Loop::of(state_dir, project, now).into_iter().collect(),
        None => Loop::all(state_dir, now),
    };
    if args.json {
        let all: Vec<_> = loops.iter().map(screen::status::json).collect();
        return if args.watch {
            serde_json::to_string(&all).into_diagnostic()
        } else {
            serde_json::to_string_pretty(&all).into_diagnostic()
        };
    }
    let view = screen::status::View {
        now,
        zone: &TimeZone::system(),
        paint: Paint::detect(),
    };
    Ok(view.render(&loops, state_dir))
}
