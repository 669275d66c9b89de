//! A host's root: a size-capped tmpfs with the machine's `/usr` in it, read-only,
//! and nothing else of the machine.

use std::fs::{Permissions, create_dir_all, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount as mount_fs};

use crate::error::LabError;

const SIZE: &str = "size=1g,mode=755";

const DIRS: [&str; 16] = [
    "usr",
    "etc",
    "var/log/journal",
    "var/lib",
    "var/tmp",
    "var/cache",
    "run",
    "tmp",
    "root",
    "opt",
    "proc",
    "sys",
    "dev",
    "home",
    "srv",
    "mnt",
];

/// Every merged-/usr distribution has these.
const LINKS: [(&str, &str); 5] = [
    ("usr/bin", "bin"),
    ("usr/sbin", "sbin"),
    ("usr/lib", "lib"),
    ("usr/lib64", "lib64"),
    ("../run", "var/run"),
];

/// Mounts a fresh root at `root`, in the current mount namespace.
pub fn mount(root: &Path) -> Result<(), LabError> {
    create_dir_all(root).map_err(LabError::file("create", root))?;
    tmpfs(root, SIZE, MsFlags::empty())?;
    for dir in DIRS {
        let path = root.join(dir);
        create_dir_all(&path).map_err(LabError::file("create", path))?;
    }
    for (target, link) in LINKS {
        let path = root.join(link);
        symlink(target, &path).map_err(LabError::file("link", path))?;
    }
    for (dir, mode) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)] {
        let path = root.join(dir);
        set_permissions(&path, Permissions::from_mode(mode))
            .map_err(LabError::file("set the mode of", path))?;
    }
    bind_usr(&root.join("usr"))
}

fn bind_usr(usr: &Path) -> Result<(), LabError> {
    let failed = || LabError::system(format!("bind /usr to {}", usr.display()));
    let bind = MsFlags::MS_BIND;
    mount_fs(Some("/usr"), usr, None::<&str>, bind, None::<&str>).map_err(failed())?;
    let read_only = bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount_fs(None::<&str>, usr, None::<&str>, read_only, None::<&str>).map_err(failed())?;
    // What the machine's owner put there by hand is nobody's business in the twin.
    let local = usr.join("local");
    if local.is_dir() {
        tmpfs(&local, "size=4k,mode=755", MsFlags::MS_RDONLY)
    } else {
        Ok(())
    }
}

fn tmpfs(at: &Path, options: &str, flags: MsFlags) -> Result<(), LabError> {
    mount_fs(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).map_err(LabError::system(
        format!("mount a tmpfs at {}", at.display()),
    ))
}
