//! What TEST runs.

pub mod matrix;
pub mod schedule;
