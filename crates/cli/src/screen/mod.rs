//! What people (and, with `--json`, machines) see.

pub mod grid;
pub mod json;
pub mod live;
mod paint;
pub mod plan;
pub mod summary;

pub use paint::{Paint, Style};
