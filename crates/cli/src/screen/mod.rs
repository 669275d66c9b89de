//! What people (and, with `--json`, machines) see.

pub mod compare;
pub mod diagnosis;
pub mod grid;
pub mod history;
pub mod json;
pub mod live;
mod paint;
pub mod plan;
pub mod status;
pub mod story;
pub mod summary;
pub mod time;

pub use paint::{Paint, Style};
