//! The journal's entries, as they are written.

use engine::Sink;
use model::event::Entry;
use model::run::Run;

pub struct Lines;

impl Sink for Lines {
    fn entry(&self, entry: &Entry, _run: &Run) {
        if let Ok(line) = serde_json::to_string(entry) {
            println!("{line}");
        }
    }
}
