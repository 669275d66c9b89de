//! Judges a run again, offline, from its journal alone, and says what does not match.
//!
//! What it can show: that the files of a run directory are what its journal gives,
//! and that the verdict follows from the attempts in it. What it cannot: that the
//! journal is true. Whoever can write all of it can make up another consistent one;
//! only a signature by a key that they do not have stands against that.

mod documents;
mod journal;

use std::path::{Path, PathBuf};

use model::event::Entry;
use model::stats::Verdict;
use serde::Serialize;

use crate::journal::examine;
use crate::manifest;
use crate::run_dir::{RunDir, RunDirError};
use crate::signature::{self, Signer};

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("`{}` is no run directory: its journal cannot be read", dir.display())]
    NoJournal {
        dir: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` is no journal: none of its lines is an entry", file.display())]
    NotAJournal { file: PathBuf },
    #[error(transparent)]
    Directory(#[from] RunDirError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Matches,
    Differs,
    /// There is nothing to compare, which is no contradiction.
    Absent,
}

/// One question, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
    /// What was compared, in a few words.
    pub detail: String,
    /// What does not match, a sentence each.
    pub problems: Vec<String>,
}

impl Check {
    fn new(name: &'static str, detail: impl Into<String>, problems: Vec<String>) -> Self {
        let status = if problems.is_empty() {
            Status::Matches
        } else {
            Status::Differs
        };
        Self {
            name,
            status,
            detail: detail.into(),
            problems,
        }
    }

    fn absent(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Absent,
            detail: detail.into(),
            problems: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    pub run: PathBuf,
    pub matches: bool,
    /// As it follows from the journal, whatever the proof beside it says; `None`
    /// where the journal cannot be folded.
    pub verdict: Option<Verdict>,
    pub checks: Vec<Check>,
}

/// Reads, compares, changes nothing.
///
/// # Errors
/// There is no journal to judge by, or a file cannot be read.
pub fn verify(dir: &RunDir, signers: Option<&Path>) -> Result<Verification, VerifyError> {
    let file = dir.journal();
    let text = std::fs::read(&file).map_err(|source| VerifyError::NoJournal {
        dir: dir.path().to_owned(),
        source,
    })?;
    let journal = examine(&text);
    if journal.entries.is_empty() {
        return Err(VerifyError::NotAJournal { file });
    }
    let mut checks = vec![
        journal::chain(&journal),
        journal::rules(&journal.entries),
        journal::attempts(&journal.entries),
        journal::verdicts(&journal.entries),
    ];
    let proof = crate::documents::proof(&journal);
    match &proof {
        Ok(proof) => checks.extend(documents::compare(dir, proof)?),
        Err(error) => checks.push(Check::new(
            "proof.json",
            "not compared",
            vec![crate::error_chain(error)],
        )),
    }
    checks.push(evidence(dir, &journal.entries)?);
    checks.push(files(dir)?);
    checks.push(signed(dir, signers));
    Ok(Verification {
        run: dir.path().to_owned(),
        matches: checks.iter().all(|c| c.status != Status::Differs),
        verdict: proof.ok().map(|proof| proof.verdict),
        checks,
    })
}

/// Logs, metrics and rules against the digests that the newest end gave them.
fn evidence(dir: &RunDir, entries: &[Entry]) -> Result<Check, VerifyError> {
    let Some(collected) = journal::collected(entries) else {
        return Ok(Check::absent("evidence", "the journal names none"));
    };
    let mut problems = Vec::new();
    for file in &collected.files {
        if !is_inside(&file.path) {
            problems.push(format!("`{}` leads out of the run directory", file.path));
        } else if !dir.path().join(&file.path).is_file() {
            problems.push(format!("{} is missing", file.path));
        } else if dir.digest(&file.path)?.0 != file.sha256 {
            problems.push(format!("{} was changed", file.path));
        }
    }
    let detail = format!(
        "{} files by their digests in the journal",
        collected.files.len()
    );
    Ok(Check::new("evidence", detail, problems))
}

/// A journal from elsewhere must not make us read this machine's files.
fn is_inside(path: &str) -> bool {
    Path::new(path)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn files(dir: &RunDir) -> Result<Check, VerifyError> {
    let path = dir.path().join(manifest::NAME);
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(Check::absent(
            "MANIFEST",
            "there is none: the run has not ended",
        ));
    };
    let named = match manifest::parse(&text) {
        Ok(named) => named,
        Err(problem) => return Ok(Check::new("MANIFEST", "unreadable", vec![problem])),
    };
    let mut problems = Vec::new();
    for (path, digest) in &named {
        if !is_inside(path) {
            problems.push(format!("`{path}` leads out of the run directory"));
        } else if !dir.path().join(path).is_file() {
            problems.push(format!("{path} is missing"));
        } else if dir.digest(path)?.0 != *digest {
            problems.push(format!("{path} was changed"));
        }
    }
    let there = manifest::files(dir)?;
    let strangers = there.iter().filter(|path| !named.contains_key(*path));
    problems.extend(strangers.map(|path| format!("{path} was added")));
    Ok(Check::new(
        "MANIFEST",
        format!("{} files", named.len()),
        problems,
    ))
}

fn signed(dir: &RunDir, signers: Option<&Path>) -> Check {
    let is_signed = dir.path().join(manifest::SIGNATURE).is_file();
    match (is_signed, signers) {
        (false, None) => Check::absent(
            "signature",
            "none: whoever can write the directory could have made up all of it",
        ),
        (false, Some(_)) => Check::new(
            "signature",
            "asked for",
            vec!["the run is not signed".into()],
        ),
        (true, _) => match signature::check(dir, signers) {
            Ok(Signer::Allowed { principal, key }) => {
                Check::new("signature", format!("by {principal}, {key}"), Vec::new())
            }
            Ok(Signer::Unknown { key }) => Check::new(
                "signature",
                format!("by {key}; whose key that is, --signers FILE would tell"),
                Vec::new(),
            ),
            Err(problem) => Check::new("signature", "does not fit", vec![problem]),
        },
    }
}

#[cfg(test)]
mod tests;
