//! Pure rendering: data in, HTML and SVG out.
//!
//! No I/O, no clock; no page needs a script to be read. Everything that came from outside is
//! escaped by the one function in [`html`]; pages work under a policy that
//! forbids inline styles and scripts, because [`STYLE`] may be served as a file.

mod by_nodes;
mod dash;
pub mod html;
mod interval;
mod map;
mod matrix;
mod natural;
mod proof;
mod quantity;
mod timeline;
mod world;

pub use dash::{
    Frame, Here, ICON, ICON_PATH, Loop, MatrixBy, NodeHealth, NodePage, Person, SCRIPT,
    SCRIPT_PATH, STYLE_PATH, compare, decision, login, machine, matrix_page, nat, node, overview,
    places, run, runs,
};
pub use interval::{interval, trend};
pub use map::{Site, Traffic, map};
pub use matrix::{connect_times, matrix};
pub use natural::natural_key;
pub use proof::proof;
pub use timeline::timeline;

/// What every page needs; inlined in one that must stand alone.
const BASE_STYLE: &str = concat!(include_str!("style.css"), include_str!("figures.css"));

/// The dashboard's style sheet, to be linked to.
pub const STYLE: &str = concat!(
    include_str!("style.css"),
    include_str!("figures.css"),
    include_str!("dash/dash.css")
);
