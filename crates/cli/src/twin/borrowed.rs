//! Who runs on a twin. One that was booted for a run goes with it, unless others
//! have come to run on it: then the last of them takes it down.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use lab::Twin;

/// Held by everybody who runs on the twin; the kernel lets go of what a dead one held.
const USERS: &str = "users";
/// There where the twin is nobody's own.
const FOR_A_RUN: &str = "for-a-run";

pub struct Borrowed {
    name: String,
    dir: PathBuf,
    hold: Option<File>,
}

impl Borrowed {
    /// `for_a_run`: it goes when nobody runs on it any more.
    pub fn of(twin: &Twin, for_a_run: bool) -> io::Result<Self> {
        let config = twin.ssh_config();
        let dir = config.parent().unwrap_or(Path::new("/")).to_owned();
        let hold = users(&dir)?;
        hold.lock_shared()?;
        if for_a_run {
            File::create(dir.join(FOR_A_RUN))?;
        }
        Ok(Self {
            name: twin.name().to_owned(),
            dir,
            hold: Some(hold),
        })
    }
}

fn users(dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(USERS))
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        drop(self.hold.take());
        if !self.dir.join(FOR_A_RUN).exists() {
            return;
        }
        let is_last = users(&self.dir).is_ok_and(|file| file.try_lock().is_ok());
        if is_last && let Err(error) = Twin::down(&self.name) {
            eprintln!("{:?}", miette::Report::new(error));
        }
    }
}
