//! A cgroup of its own for every host, so that no host's systemd sees another's
//! processes. Works on cgroup v2, on v1 with a `name=systemd` hierarchy, and on both.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::record::wait_until;

/// Where cgroups of this twin may be made: one directory a hierarchy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cgroups {
    parents: Vec<PathBuf>,
}

impl Cgroups {
    /// Below the cgroup that this process is in.
    pub fn of_twin(name: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let parents = own
            .lines()
            .filter_map(|line| parent(line, &mounts))
            .map(|p| p.join(format!("vps-test-{name}")));
        Self {
            parents: parents.collect(),
        }
    }

    /// Makes a host's cgroups and returns their `cgroup.procs` files.
    pub fn create(&self, node: &str) -> Vec<PathBuf> {
        let dirs = self.parents.iter().map(|parent| parent.join(node));
        dirs.filter(|dir| fs::create_dir_all(dir).is_ok())
            .map(|dir| dir.join("cgroup.procs"))
            .collect()
    }

    /// Removes all of this twin's cgroups; their processes have ended, although
    /// the kernel may need a moment to notice.
    ///
    /// # Errors
    /// One of them is still in use.
    pub fn remove(&self) -> Result<(), LabError> {
        for parent in &self.parents {
            let is_gone = || {
                remove_tree(parent);
                !parent.exists()
            };
            if !wait_until(Duration::from_secs(5), is_gone) {
                let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
                return Err(LabError::file("remove", parent)(busy));
            }
        }
        Ok(())
    }
}

/// A cgroup goes when its children are gone, and only by rmdir.
fn remove_tree(dir: &Path) {
    for child in fs::read_dir(dir).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&child.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// `9:name=systemd:/path` or `0::/path` → its directory, where it is mounted.
fn parent(line: &str, mounts: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let wanted = match controllers {
        "" => "cgroup2",
        "name=systemd" => "cgroup",
        _ => return None,
    };
    let mount_point = mounts.lines().find_map(|mount| {
        let (before, after) = mount.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, _, options) = (after.next()?, after.next()?, after.next()?);
        let fits = kind == wanted
            && (kind == "cgroup2" || options.split(',').any(|o| o == "name=systemd"));
        let mut before = before.split(' ');
        fits.then(|| {
            (
                before.nth(3).unwrap_or("/").to_owned(),
                before.next().unwrap_or("/").to_owned(),
            )
        })
    });
    let (root, at) = mount_point?;
    let below = path
        .strip_prefix(root.trim_end_matches('/'))
        .unwrap_or(path);
    Some(Path::new(&at).join(below.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
33 24 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 24 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
35 24 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";

    #[test]
    fn both_of_systemds_hierarchies_are_found() {
        let found = |line| parent(line, MOUNTS).map(|p| p.display().to_string());
        assert_eq!(
            found("9:name=systemd:/a"),
            Some("/sys/fs/cgroup/systemd/a".into())
        );
        assert_eq!(
            found("0::/user.slice/x.scope"),
            Some("/sys/fs/cgroup/unified/user.slice/x.scope".into())
        );
        assert_eq!(found("4:memory:/a"), None);
    }
}
