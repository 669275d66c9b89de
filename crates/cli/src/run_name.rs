//! Runs by the names that people give them.

use std::path::Path;

use engine::RunDir;

use crate::project;

/// A run directory's path, `PROJECT` for its newest run, or `PROJECT/TIME`.
pub fn find(word: &str) -> miette::Result<RunDir> {
    let as_path = RunDir::open(Path::new(word));
    if as_path.journal().is_file() {
        return Ok(as_path);
    }
    let state = project::any_state_dir()?;
    let named = state.join(word);
    let newest = RunDir::open(named.join("latest"));
    if newest.journal().is_file() {
        return Ok(newest);
    }
    let exact = RunDir::open(&named);
    if exact.journal().is_file() {
        return Ok(exact);
    }
    miette::bail!(
        help = format!(
            "a run is PROJECT, PROJECT/TIME, or a directory with a journal.jsonl; runs are kept in `{}`",
            state.display()
        ),
        "there is no run `{word}`"
    )
}
