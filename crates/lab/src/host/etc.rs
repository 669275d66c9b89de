//! A host's `/etc`: generated, so that nothing of the machine's own leaks in.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use model::inventory::Node;

use crate::error::LabError;

/// `/etc/hosts` of every host: all names of the fleet, at the twin's addresses.
#[derive(Debug, Clone)]
pub struct Neighbours(pub String);

/// The public key that may log in.
#[derive(Debug, Clone)]
pub struct Identity(pub String);

/// Accounts that the host's own services need.
const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
messagebus:x:100:100::/nonexistent:/usr/sbin/nologin
sshd:x:101:65534::/run/sshd:/usr/sbin/nologin
systemd-network:x:998:998:systemd Network Management:/:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";

const GROUP: &str = "\
root:x:0:
daemon:x:1:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
kmem:x:15:
dialout:x:20:
cdrom:x:24:
tape:x:26:
audio:x:29:
shadow:x:42:
utmp:x:43:
video:x:44:
users:x:100:
messagebus:x:101:
input:x:102:
sgx:x:103:
kvm:x:104:
render:x:105:
systemd-journal:x:999:
systemd-network:x:998:
nogroup:x:65534:
";

const SSHD: &str = "\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 100
Subsystem sftp internal-sftp
";

const NSSWITCH: &str =
    "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n";

/// Units of `/usr` that a host has no use for, besides what other packages brought.
const MASKED: [&str; 8] = [
    "systemd-udevd.service",
    "systemd-udevd-kernel.socket",
    "systemd-udevd-control.socket",
    "getty.target",
    "console-getty.service",
    "systemd-logind.service",
    "systemd-resolved.service",
    "systemd-networkd.service",
];

/// Units that stay although a `.wants` directory of `/usr` pulls in everything.
const KEPT: [&str; 7] = [
    "systemd-journald",
    // Until it has run, the journal is in /run and does not survive a reboot.
    "systemd-journal-flush.service",
    "systemd-tmpfiles-setup.service",
    "dbus.service",
    "dbus.socket",
    "ssh.service",
    "ssh.socket",
];

/// Writes all of it below `root`.
pub fn write(
    root: &Path,
    node: &Node,
    neighbours: &Neighbours,
    identity: &Identity,
) -> Result<(), LabError> {
    let etc = Etc { root };
    etc.file("etc/passwd", PASSWD, 0o644)?;
    etc.file("etc/group", GROUP, 0o644)?;
    etc.file("etc/shadow", "root:*:19000:0:99999:7:::\n", 0o640)?;
    etc.file("etc/hostname", &format!("{}\n", node.name), 0o644)?;
    etc.file("etc/hosts", &neighbours.0, 0o644)?;
    etc.file("etc/nsswitch.conf", NSSWITCH, 0o644)?;
    etc.file("etc/fstab", "", 0o644)?;
    etc.file("etc/machine-id", &format!("{}\n", machine_id(node)), 0o444)?;
    etc.file(
        "etc/ssh/sshd_config",
        &format!("Port {}\n{SSHD}", node.ssh.port),
        0o600,
    )?;
    etc.file(&home(node, ".ssh/authorized_keys"), &identity.0, 0o600)?;
    etc.file(
        "etc/systemd/journald.conf.d/host.conf",
        "[Journal]\nStorage=persistent\nRateLimitBurst=0\n",
        0o644,
    )?;
    etc.copy_dir("/etc/alternatives", "etc/alternatives");
    etc.copy_file("/etc/ld.so.cache", "etc/ld.so.cache");
    etc.copy_file("/etc/ld.so.conf", "etc/ld.so.conf");
    etc.host_key()?;
    etc.units()
}

struct Etc<'a> {
    root: &'a Path,
}

impl Etc<'_> {
    fn file(&self, path: &str, text: &str, mode: u32) -> Result<(), LabError> {
        let path = self.root.join(path);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(LabError::file("create", dir))?;
        }
        fs::write(&path, text).map_err(LabError::file("write", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(LabError::file("set the mode of", path))
    }

    /// Best effort: a distribution without it works without it.
    fn copy_file(&self, from: &str, to: &str) {
        let _ = fs::copy(from, self.root.join(to));
    }

    fn copy_dir(&self, from: &str, to: &str) {
        let to = self.root.join(to);
        let _ = fs::create_dir_all(&to);
        for entry in fs::read_dir(from).into_iter().flatten().flatten() {
            if let Ok(target) = fs::read_link(entry.path()) {
                let _ = symlink(target, to.join(entry.file_name()));
            }
        }
    }

    fn host_key(&self) -> Result<(), LabError> {
        generate_key(&self.root.join("etc/ssh/ssh_host_ed25519_key"))
    }

    fn units(&self) -> Result<(), LabError> {
        let dir = self.root.join("etc/systemd/system");
        let wants = dir.join("multi-user.target.wants");
        fs::create_dir_all(&wants).map_err(LabError::file("create", &wants))?;
        let unit = ssh_unit();
        let link = wants.join(unit);
        symlink(format!("/usr/lib/systemd/system/{unit}"), &link)
            .map_err(LabError::file("link", link))?;
        for name in unwanted() {
            let _ = symlink("/dev/null", dir.join(name));
        }
        Ok(())
    }
}

/// Debian calls it ssh, most others sshd.
fn ssh_unit() -> &'static str {
    if Path::new("/usr/lib/systemd/system/ssh.service").exists() {
        "ssh.service"
    } else {
        "sshd.service"
    }
}

/// Everything that packages of the machine would start at boot.
fn unwanted() -> Vec<String> {
    let targets = [
        "multi-user",
        "sysinit",
        "timers",
        "sockets",
        "local-fs",
        "graphical",
        "network-online",
    ];
    let pulled_in = targets.iter().flat_map(|target| {
        fs::read_dir(format!("/usr/lib/systemd/system/{target}.target.wants"))
            .into_iter()
            .flatten()
            .flatten()
    });
    let mut names: Vec<String> = pulled_in
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| !KEPT.iter().any(|kept| name.starts_with(kept)));
    names.extend(MASKED.map(String::from));
    names
}

/// `ssh-keygen`, so that the key is one that this machine's OpenSSH likes.
pub fn generate_key(path: &Path) -> Result<(), LabError> {
    let failed = |detail: String| LabError::Command {
        command: format!("ssh-keygen -f {}", path.display()),
        detail,
    };
    let keygen = crate::preflight::find("ssh-keygen").unwrap_or_else(|| "ssh-keygen".into());
    let output = Command::new(keygen)
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "vps-test", "-f"])
        .arg(path)
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// A file in the home of the inventory's SSH user. Only root exists here.
fn home(_node: &Node, file: &str) -> String {
    PathBuf::from("root").join(file).display().to_string()
}

/// 32 hex digits, the same for the same name: journals of two boots belong together.
fn machine_id(node: &Node) -> String {
    model::payload::sha256_hex(node.name.as_str().as_bytes())[..32].to_owned()
}
