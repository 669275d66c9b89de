//! What this machine must have before a twin can boot.

use std::path::Path;

use crate::error::LabError;

/// Programs that a host or the WAN needs: name, why, Debian package.
const PROGRAMS: [(&str, &str, &str); 5] = [
    (
        "systemd-nspawn",
        "which boots the hosts",
        "systemd-container",
    ),
    ("sshd", "which every host runs", "openssh-server"),
    ("ssh", "which reaches the hosts", "openssh-client"),
    ("ip", "which sets up their interfaces", "iproute2"),
    ("nft", "which makes their NATs", "nftables"),
];

/// # Errors
/// The first thing that is missing, and how to get it.
pub fn check() -> Result<(), LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
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

/// Looks through PATH, and in the system directories that PATH of a plain user lacks.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
