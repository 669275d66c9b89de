//! `MANIFEST`: the digest of every file of a run directory, as `sha256sum` writes
//! them, so that `sha256sum -c MANIFEST` checks it without us.

use std::collections::BTreeMap;

use crate::run_dir::{RunDir, RunDirError};

pub const NAME: &str = "MANIFEST";
const OUTPUT: &str = "output.log";
pub const SIGNATURE: &str = "MANIFEST.sig";

/// Writes it anew. A signature of the one before says nothing of this one.
pub fn write(dir: &RunDir) -> Result<(), RunDirError> {
    dir.remove(SIGNATURE)?;
    let mut text = String::new();
    for path in files(dir)? {
        let (sha256, _) = dir.digest(&path)?;
        text.push_str(&format!("{sha256}  {path}\n"));
    }
    dir.write_exactly(NAME, text)?;
    Ok(())
}

/// What a manifest must name: all but itself, and what a detached run's process
/// still prints when everything is written.
pub fn files(dir: &RunDir) -> Result<Vec<String>, RunDirError> {
    let mut files = dir.files()?;
    files.retain(|path| ![NAME, SIGNATURE, OUTPUT].contains(&path.as_str()));
    Ok(files)
}

/// Digests by path; an error names the line that is none.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut named = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let entry = line.split_once("  ").filter(|(digest, path)| {
            digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()) && !path.is_empty()
        });
        let Some((digest, path)) = entry else {
            return Err(format!("line {} is not `DIGEST  PATH`", index + 1));
        };
        named.insert(path.to_owned(), digest.to_owned());
    }
    Ok(named)
}
