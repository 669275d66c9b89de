//! Which inventory a command means.

use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, WrapErr};

/// The given file, or the only one in `fleets/` here or above.
pub fn find(given: Option<PathBuf>) -> miette::Result<PathBuf> {
    if let Some(file) = given {
        return Ok(file);
    }
    let here = std::env::current_dir().into_diagnostic()?;
    for dir in here.ancestors() {
        let mut found = yaml_files(&dir.join("fleets"));
        found.sort();
        match found.len() {
            0 => {}
            1 => return Ok(found.remove(0)),
            n => miette::bail!(
                help = "name one with --fleet FILE",
                "`{}` holds {n} inventories",
                dir.join("fleets").display()
            ),
        }
    }
    miette::bail!(
        help = "name one with --fleet FILE, or put it into ./fleets",
        "no inventory: there is no fleets/*.yaml here or above"
    )
}

pub fn text(file: &Path) -> miette::Result<String> {
    std::fs::read_to_string(file)
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot read the inventory `{}`", file.display()))
}

fn yaml_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    entries
        .filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect()
}
