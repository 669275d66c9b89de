//! A file to deploy, named by its content.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::needs::Needs;

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
    pub content: Arc<Vec<u8>>,
    pub needs: Needs,
    /// Made for the first host that can unpack it.
    packed: Arc<OnceLock<Vec<u8>>>,
}

/// Fast rather than small: a third of the bytes for a tenth of a second.
const LEVEL: i32 = 1;

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
            needs: Needs::of(&content),
            content: content.into(),
            packed: Arc::default(),
        })
    }

    /// As zstd packs it; as it is where that makes it no smaller.
    pub fn packed(&self) -> &[u8] {
        let packed = self
            .packed
            .get_or_init(|| zstd::bulk::compress(&self.content, LEVEL).unwrap_or_default());
        if packed.is_empty() || packed.len() >= self.content.len() {
            &self.content
        } else {
            packed
        }
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
