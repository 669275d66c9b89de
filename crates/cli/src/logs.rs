//! `vps-test logs`: what a run did, or what a node's services said.

mod node;

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use engine::RunDir;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::config::parse_duration;
use model::run::Run;

use crate::exit::Infrastructure;
use crate::runs::{self, Loop};
use crate::screen::story::{Attempts, Story, took};
use crate::screen::{Paint, Style};

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// A project, for its newest run; `PROJECT~1` is the run before, or PROJECT/RUN
    project: String,
    /// What this node's services logged: from the node, or as collected
    #[arg(long)]
    node: Option<String>,
    /// Go on until the run ends
    #[arg(long)]
    follow: bool,
    /// Nothing older: `10m`, `2h`, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Successful attempts too
    #[arg(long)]
    all: bool,
    /// The last lines only
    #[arg(long, short = 'n', value_name = "LINES")]
    lines: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Since(Timestamp);

fn since(text: &str) -> Result<Since, String> {
    let ago = parse_duration(text)
        .and_then(|ago| SignedDuration::try_from(ago).ok())
        .and_then(|ago| Timestamp::now().checked_sub(ago).ok());
    let local = || {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(civil.to_zoned(TimeZone::system()).ok()?.timestamp())
    };
    ago.or_else(|| text.parse().ok())
        .or_else(local)
        .map(Since)
        .ok_or_else(|| "a duration such as 10m or 2h, or a time such as 2026-01-31T12:00".into())
}

const EVERY: Duration = Duration::from_millis(300);

pub fn run(args: LogsArgs) -> miette::Result<ExitCode> {
    let state_dir = runs::state_dir()?;
    let dir = newest(&state_dir, &args.project)?;
    if let Some(node) = &args.node {
        return node::run(&args, &dir, node);
    }
    tell(&args, &state_dir, &dir)
}

/// The run that is on comes before those that ended.
fn newest(state_dir: &Path, word: &str) -> miette::Result<RunDir> {
    match Loop::of(state_dir, word, Timestamp::now()).and_then(|one| one.dir) {
        Some(dir) if dir.journal().exists() => Ok(dir),
        _ => runs::find(state_dir, word),
    }
}

fn tell(args: &LogsArgs, state_dir: &Path, dir: &RunDir) -> miette::Result<ExitCode> {
    let zone = TimeZone::system();
    let paint = Paint::detect();
    let story = Story {
        now: Timestamp::now(),
        zone: &zone,
        paint,
        attempts: if args.all {
            Attempts::All
        } else {
            Attempts::Failed
        },
    };
    let (mut run, mut told) = (Run::default(), 0);
    let mut lines = news(args, dir, &story, &mut run, &mut told)?;
    if let Some(last) = args.lines {
        lines.drain(..lines.len().saturating_sub(last));
    }
    print(&lines);
    while args.follow && goes_on(state_dir, dir, &run) {
        std::thread::sleep(EVERY);
        print(&news(args, dir, &story, &mut run, &mut told)?);
    }
    if let Some(took) = took(&run) {
        println!("{}", paint.text(Style::Dim, &took));
    }
    let logs: Vec<_> = std::fs::read_dir(dir.logs())
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    if !logs.is_empty() && !args.follow {
        let words = format!(
            "{} logs of nodes in {}; `--node NAME` shows them",
            logs.len(),
            dir.logs().display()
        );
        println!("{}", paint.text(Style::Dim, &words));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines for the entries that were not told yet.
fn news(
    args: &LogsArgs,
    dir: &RunDir,
    story: &Story<'_>,
    run: &mut Run,
    told: &mut usize,
) -> miette::Result<VecDeque<String>> {
    let entries =
        engine::read_journal(&dir.journal()).map_err(|e| Infrastructure::from_error(&e))?;
    let mut lines = VecDeque::new();
    for entry in entries.iter().skip(*told) {
        run.apply(entry.at, &entry.event)
            .map_err(|e| Infrastructure::from_error(&e))?;
        let is_wanted = args.since.is_none_or(|since| entry.at >= since.0);
        if let Some(line) = story.line(entry, run).filter(|_| is_wanted) {
            lines.push_back(line);
        }
    }
    *told = entries.len();
    Ok(lines)
}

fn print(lines: &VecDeque<String>) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

fn goes_on(state_dir: &Path, dir: &RunDir, run: &Run) -> bool {
    let is_over = run.ended_at.is_some();
    let project = run.plan.as_ref().map(|plan| plan.project.as_str());
    let holder = project.and_then(|project| engine::Claim::holder(state_dir, project));
    !is_over && holder.is_some_and(|holder| holder.run.as_deref() == Some(dir.path()))
}
