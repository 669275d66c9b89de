//! What TEST runs.

pub mod matrix;
