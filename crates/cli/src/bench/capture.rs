//! What it costs a matrix to have its failures captured.

use super::ground::{Ground, saorsa, without_delay};
use super::{figure, matrix, median};

/// Matrices of each kind, in turn.
const ROUNDS: usize = 3;

pub fn run() -> miette::Result<()> {
    let ground = Ground::boot(&without_delay(&saorsa()?)?)?;
    // The first run deploys, and its processes are cold.
    seconds(&[])?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        without.push(seconds(&[])?);
        with.push(seconds(&["--capture", "failures"])?);
        eprintln!("after {round} of {ROUNDS} rounds: {without:.1?} s without, {with:.1?} s with");
    }
    drop(ground);
    let share = median(with) / median(without);
    figure(
        "capture on failures, added to a matrix",
        100.0 * (share - 1.0),
    );
    Ok(())
}

fn seconds(more: &[&str]) -> miette::Result<f64> {
    matrix::seconds_of(&matrix::start_once(more)?.1)
}
