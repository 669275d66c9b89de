//! What a run directory holds for people and programs, made from its journal.
//!
//! The journal is read back from the disk first, so that a run at its end and
//! somebody who verifies it a year later go the same way from it.

use std::path::PathBuf;

use model::proof::{History, JournalMark, Proof, ProofError};

use crate::journal::{self, Examined, JournalError};
use crate::manifest;
use crate::run_dir::{RunDir, RunDirError, file_time};
use crate::{junit, markdown};

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Directory(#[from] RunDirError),
}

/// A file as the journal gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub path: String,
    pub text: String,
}

/// Everything that was written.
#[derive(Debug)]
pub struct Written {
    pub proof: Proof,
    /// `proof-<timestamp>.md`
    pub document: PathBuf,
}

/// Writes every document, and then `MANIFEST`. Those of an earlier end, before
/// the run was resumed, go away.
pub fn write(dir: &RunDir) -> Result<Written, DocumentError> {
    let journal = journal::read_intact(&dir.journal())?;
    let proof = proof(&journal)?;
    let documents = render(&proof);
    for stale in dir.proofs()? {
        if documents.iter().all(|d| d.path != stale) {
            dir.remove(&stale)?;
        }
    }
    for document in &documents {
        dir.write_exactly(&document.path, &document.text)?;
    }
    manifest::write(dir)?;
    Ok(Written {
        document: dir.path().join(markdown_name(&proof)),
        proof,
    })
}

/// All that a journal says.
pub fn proof(journal: &Examined) -> Result<Proof, ProofError> {
    History::of(&journal.entries)?.proof(JournalMark {
        entries: journal.entries.len() as u64,
        head: journal.head.clone(),
    })
}

/// Every document that a proof is given as.
pub fn render(proof: &Proof) -> Vec<Document> {
    let document = |path: &str, text: String| Document {
        path: path.into(),
        text,
    };
    vec![
        document("proof.json", json(proof)),
        document(&markdown_name(proof), markdown::render(proof)),
        document("junit.xml", junit::render(proof)),
        document("proof.html", view::proof(proof)),
    ]
}

fn json(proof: &Proof) -> String {
    // Every type of a proof has names for keys and nothing that can fail.
    serde_json::to_string_pretty(proof).unwrap_or_default() + "\n"
}

fn markdown_name(proof: &Proof) -> String {
    format!("proof-{}.md", file_time(proof.ended_at))
}
