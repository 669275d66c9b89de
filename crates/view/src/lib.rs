//! Pure rendering: data in, HTML and SVG out.
//!
//! No I/O, no clock, no script in any page. Everything that came from outside is
//! escaped by the one function in [`html`]; pages work under a policy that
//! forbids inline styles and scripts, because [`STYLE`] may be served as a file.

pub mod html;
mod interval;
mod map;
mod matrix;
mod natural;
mod overview;
mod proof;
mod quantity;
mod timeline;

pub use interval::{interval, trend};
pub use map::{Site, Traffic, map};
pub use matrix::{connect_times, matrix};
pub use overview::{Overview, overview};
pub use proof::proof;
pub use timeline::timeline;

/// The style sheet of every page: link to it, or inline it in a page that must
/// stand alone.
pub const STYLE: &str = concat!(include_str!("style.css"), include_str!("figures.css"));
