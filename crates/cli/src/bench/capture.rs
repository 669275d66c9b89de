//! What it costs a matrix to have its failures captured.

use super::ground::{Ground, saorsa, without_delay};
use super::{figure, matrix, median};

/// Matrices of each kind, in turn.
const ROUNDS: usize = 3;

pub fn run() -> miette::Result<()> {
    let ground = Ground::boot(&without_delay(&saorsa()?)?)?;
    // The first run deploys, and its processes are cold.
    matrix::start(&[])?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(matrix::seconds_of(&matrix::start(&[])?.1)?);
        with.push(matrix::seconds_of(
            &matrix::start(&["--capture", "failures"])?.1,
        )?);
    }
    drop(ground);
    let share = median(with) / median(without);
    figure(
        "capture on failures, added to a matrix",
        100.0 * (share - 1.0),
    );
    Ok(())
}
