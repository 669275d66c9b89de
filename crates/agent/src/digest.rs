//! The digest of the running executable, which deploy reads back.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Lower-case hex SHA-256 of what this process runs, even if its file was replaced since.
pub(crate) fn of_running_executable() -> io::Result<String> {
    let linux = Path::new("/proc/self/exe");
    let path: PathBuf = if linux.exists() {
        linux.into()
    } else {
        std::env::current_exe()?
    };
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}
