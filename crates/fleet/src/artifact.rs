//! A file to deploy, named by its content.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

#[derive(Debug, thiserror::Error)]
#[error("cannot read `{path}`, which is to be deployed")]
pub struct ArtifactError {
    path: PathBuf,
    source: std::io::Error,
}

/// Read once, sent to many.
#[derive(Debug, Clone)]
pub struct Artifact {
    pub name: String,
    /// Lower-case hex.
    pub sha256: String,
    pub content: std::sync::Arc<Vec<u8>>,
}

impl Artifact {
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Self, ArtifactError> {
        let content = std::fs::read(path).map_err(|source| ArtifactError {
            path: path.into(),
            source,
        })?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            name,
            sha256: hex::encode(Sha256::digest(&content)),
            content: content.into(),
        })
    }

    /// `<install_path>/<name>-<sha256>`
    pub fn path_in(&self, install_path: &str) -> String {
        format!(
            "{}/{}-{}",
            install_path.trim_end_matches('/'),
            self.name,
            self.sha256
        )
    }
}
