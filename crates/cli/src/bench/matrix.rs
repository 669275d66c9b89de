//! Whole runs of ant-quic, timed by their own journals.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::attempt::Matrix;
use model::event::{Entry, Event};
use model::run::State;

use super::figure;
use super::ground::{Ground, NAME, saorsa, without_delay};

pub fn run() -> miette::Result<()> {
    cold_matrix()?;
    whole_run()
}

/// Freshly booted hosts, fresh processes, and no delay between them.
fn cold_matrix() -> miette::Result<()> {
    let ground = Ground::boot(&without_delay(&saorsa()?)?)?;
    let (_, journal) = start(&[])?;
    drop(ground);
    figure(
        "cold 72-pair ant-quic matrix, no delay",
        seconds_of(&journal)?,
    );
    Ok(())
}

/// From the stack's first attempt until every pair was tried.
pub fn seconds_of(journal: &[Entry]) -> miette::Result<f64> {
    let began = first(
        journal,
        |event| matches!(event, Event::AttemptStarted(s) if s.matrix == Matrix::Stack),
    )?;
    Ok(seconds(began, full_matrix(journal)?))
}

fn whole_run() -> miette::Result<()> {
    let ground = Ground::boot(&saorsa()?)?;
    let (wall, journal) = start(&[])?;
    drop(ground);
    let entered = |state: State| {
        first(
            &journal,
            |e| matches!(e, Event::Entered { state: s } if *s == state),
        )
    };
    let building = seconds(entered(State::BuildLocal)?, entered(State::Deploy)?);
    let began = first(&journal, |_| true)?;
    figure(
        "start to the first full matrix",
        seconds(began, full_matrix(&journal)?) - building,
    );
    figure("start to a decided verdict and the proof", wall - building);
    Ok(())
}

/// Runs `start` as a user does; returns its wall time and its journal.
pub fn start(more: &[&str]) -> miette::Result<(f64, Vec<Entry>)> {
    start_judged_by("threshold", more)
}

/// The same, with criteria that one matrix decides.
pub fn start_once(more: &[&str]) -> miette::Result<(f64, Vec<Entry>)> {
    let easy = ["--criteria-expr", "p50(connect_ms) <= 60000"];
    start_judged_by("custom", &[&easy, more].concat())
}

fn start_judged_by(criteria: &str, more: &[&str]) -> miette::Result<(f64, Vec<Entry>)> {
    let state = tempfile::tempdir().into_diagnostic()?;
    let own = std::env::current_exe().into_diagnostic()?;
    let words = [
        "start",
        "ant-quic",
        "connectivity",
        criteria,
        "all-evidence",
        "--yes",
        "--soak",
        "0",
        "--twin",
        NAME,
    ];
    let began = Instant::now();
    let status = Command::new(own)
        .args(words)
        .args(more)
        .env("VPS_TEST_STATE_DIR", state.path())
        .stdout(Stdio::null())
        .status()
        .into_diagnostic()
        .wrap_err("cannot run start")?;
    let wall = began.elapsed().as_secs_f64();
    if !status.success() {
        miette::bail!("start ended with {status}, so its times mean nothing");
    }
    Ok((
        wall,
        read(&state.path().join("ant-quic/latest/journal.jsonl"))?,
    ))
}

pub(super) fn read(journal: &Path) -> miette::Result<Vec<Entry>> {
    engine::read_journal(journal).into_diagnostic()
}

pub(super) fn first(
    journal: &[Entry],
    is_it: impl Fn(&Event) -> bool,
) -> miette::Result<Timestamp> {
    let entry = journal.iter().find(|entry| is_it(&entry.event));
    entry
        .map(|entry| entry.at)
        .ok_or_else(|| miette::miette!("the journal lacks an event"))
}

/// When every pair had its first attempt behind it.
fn full_matrix(journal: &[Entry]) -> miette::Result<Timestamp> {
    let mut open = std::collections::BTreeSet::new();
    let tested = journal.iter().find_map(|entry| match &entry.event {
        Event::Confirmed(plan) => Some(plan.nodes.iter().filter(|n| n.tested).count()),
        _ => None,
    });
    let pairs = tested.map_or(0, |n| n * n.saturating_sub(1));
    for entry in journal {
        if let Event::AttemptFinished(attempt) = &entry.event
            && attempt.start.matrix == Matrix::Stack
        {
            open.insert(attempt.start.cell.pair.clone());
            if open.len() == pairs {
                return Ok(entry.at);
            }
        }
    }
    miette::bail!("{} of {pairs} pairs were tried", open.len())
}

pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
