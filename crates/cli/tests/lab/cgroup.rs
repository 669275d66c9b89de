//! Cgroups for tests, beside the one that the tests run in.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::unused_name;

/// In every hierarchy that systemd could use; gone when this is dropped.
pub struct Cgroup(Vec<PathBuf>);

impl Cgroup {
    pub fn create() -> Self {
        let name = unused_name("cgroup");
        let hierarchies = ["systemd", "unified", "."].map(|h| Path::new("/sys/fs/cgroup").join(h));
        let usable = hierarchies
            .iter()
            .filter(|h| h.join("cgroup.procs").exists());
        let dirs: Vec<_> = usable.map(|h| h.join(&name)).collect();
        assert!(!dirs.is_empty(), "no cgroup hierarchy is mounted");
        for dir in &dirs {
            std::fs::create_dir(dir).unwrap();
        }
        Self(dirs)
    }

    /// A command that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let moves: String = self
            .0
            .iter()
            .map(|dir| format!("echo $$ > {}/cgroup.procs; ", dir.display()))
            .collect();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{moves} exec \"$0\" \"$@\""))
            .arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for dir in &self.0 {
            // Only rmdir removes a cgroup, and the deepest goes first.
            let _ = Command::new("find")
                .arg(dir)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                .output();
        }
    }
}
