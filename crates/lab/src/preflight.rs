//! What this machine must have before a twin can boot.

use std::path::Path;

use crate::error::LabError;

/// Programs that a host or the WAN needs: name, why, Debian package.
const PROGRAMS: [(&str, &str, &str); 6] = [
    (
        "systemd-nspawn",
        "which boots the hosts",
        "systemd-container",
    ),
    ("sshd", "which every host runs", "openssh-server"),
    ("ssh", "which reaches the hosts", "openssh-client"),
    (
        "ssh-keygen",
        "which makes the hosts' keys",
        "openssh-client",
    ),
    ("ip", "which sets up their interfaces", "iproute2"),
    ("nft", "which makes their NATs", "nftables"),
];

/// Capabilities of root: name, number in <linux/capability.h>, why.
const CAPABILITIES: [(&str, u32, &str); 5] = [
    ("CAP_SYS_ADMIN", 21, "which makes namespaces and mounts"),
    ("CAP_NET_ADMIN", 12, "which sets up the hosts' networks"),
    ("CAP_NET_RAW", 13, "which the hosts have"),
    ("CAP_MKNOD", 27, "which makes the hosts' devices"),
    ("CAP_SYS_CHROOT", 18, "which gives the hosts their roots"),
];

/// # Errors
/// The first thing that is missing, and how to get it.
pub fn check() -> Result<(), LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    check_capabilities()?;
    let tun = Path::new("/dev/net/tun");
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open(tun)
        .is_err()
    {
        return Err(LabError::Missing {
            what: tun.display().to_string(),
            why: "which carries the hosts' packets",
            remedy:
                "load the kernel module (`modprobe tun`), or allow the device in this container"
                    .into(),
        });
    }
    for (program, why, package) in PROGRAMS {
        if find(program).is_none() {
            let remedy =
                format!("install it: `apt-get install {package}` (or run `cargo xtask setup`)");
            return Err(LabError::Missing {
                what: program.into(),
                why,
                remedy,
            });
        }
    }
    Ok(())
}

/// Root in a container may lack what root of the machine has.
fn check_capabilities() -> Result<(), LabError> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path).map_err(LabError::file("read", path))?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    for (name, bit, why) in CAPABILITIES {
        if effective.is_some_and(|mask| mask & (1 << bit) == 0) {
            return Err(LabError::Missing {
                what: name.into(),
                why,
                remedy: "run it on the machine itself, or give this container the capability (such as `docker run --privileged`)".into(),
            });
        }
    }
    Ok(())
}

/// Looks through PATH, and in the system directories that PATH of a plain user lacks.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
