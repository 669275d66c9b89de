//! One host: a root file system, a network namespace, and systemd inside.

mod etc;
mod root;

use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use model::inventory::Node;

use crate::cgroup::Cgroups;
use crate::control::HostState;
use crate::error::LabError;
use crate::netns::Namespace;
use crate::run_dir::RunDir;
use crate::wan::Forwarder;

pub use etc::{Identity, Neighbours, generate_key};

/// systemd-nspawn's exit status for "the host asked for a reboot".
const REBOOT: i32 = 133;

/// A host as the daemon sees it.
pub struct Host {
    pub node: Node,
    pub addresses: Vec<IpAddr>,
    pub end: usize,
    pub state: Mutex<(HostState, u32)>,
}

/// What all hosts of a twin share.
pub struct Site {
    pub run_dir: RunDir,
    pub cgroups: Cgroups,
    pub forwarder: Arc<Forwarder>,
    pub neighbours: Neighbours,
    pub identity: Identity,
}

impl Host {
    pub fn state(&self) -> (HostState, u32) {
        self.lock().clone()
    }

    pub fn set_state(&self, state: HostState) {
        self.lock().0 = state;
    }

    /// Boots it, and again whenever it reboots, until it is powered off.
    pub fn supervise(&self, site: &Site) {
        let ended = self.prepare(site).and_then(|()| self.boot_until_off(site));
        let why = match ended {
            Ok(why) => why,
            Err(error) => error.to_string(),
        };
        eprintln!("{}: off: {why}", self.node.name);
        site.forwarder.disconnect(self.end);
        self.set_state(HostState::Off(why));
    }

    fn prepare(&self, site: &Site) -> Result<(), LabError> {
        let root = site.run_dir.root_of(self.node.name.as_str());
        root::mount(&root)?;
        etc::write(&root, &self.node, &site.neighbours, &site.identity)
    }

    fn boot_until_off(&self, site: &Site) -> Result<String, LabError> {
        loop {
            // A new namespace each time: rules and settings of the old one must not survive a reboot.
            let namespace = Namespace::create()?;
            let tun = namespace.attach(&self.addresses)?;
            let pinned = site.run_dir.netns_of(self.node.name.as_str());
            namespace.pin(&pinned)?;
            site.forwarder.connect(self.end, tun, &self.addresses)?;
            let status = self.nspawn(site, &pinned)?;
            if status.code() != Some(REBOOT) {
                return Ok(format!("systemd-nspawn ended with {status}"));
            }
            let mut state = self.lock();
            *state = (HostState::Booting, state.1 + 1);
        }
    }

    fn nspawn(&self, site: &Site, netns: &Path) -> Result<std::process::ExitStatus, LabError> {
        let name = self.node.name.as_str();
        let console = site.run_dir.console_of(name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&console)
            .map_err(LabError::file("open", &console))?;
        let both = log.try_clone().map_err(LabError::file("open", &console))?;
        let procs = site.cgroups.create(name);
        // The shell moves itself into the host's cgroup before it becomes nspawn.
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg("n=$1; shift; while [ $n -gt 0 ]; do echo $$ > \"$1\"; shift; n=$((n-1)); done; exec \"$@\"")
            .arg("sh")
            .arg(procs.len().to_string())
            .args(&procs)
            .args(nspawn_command(name, &site.run_dir.root_of(name), netns))
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(both);
        command
            .status()
            .map_err(LabError::system("start systemd-nspawn"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (HostState, u32)> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn nspawn_command(name: &str, root: &Path, netns: &Path) -> Vec<String> {
    let nspawn =
        crate::preflight::find("systemd-nspawn").unwrap_or_else(|| "systemd-nspawn".into());
    let mut argv = vec![nspawn.display().to_string()];
    argv.extend([
        "--quiet".into(),
        "--boot".into(),
        format!("--directory={}", root.display()),
        format!("--machine={name}"),
        "--register=no".into(),
        "--keep-unit".into(),
        "--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_ADMIN".into(),
        // With it a host's root could make a node of the machine's disk and read it.
        "--drop-capability=CAP_MKNOD".into(),
        format!("--network-namespace-path={}", netns.display()),
        "--console=pipe".into(),
        "--link-journal=no".into(),
        "--resolv-conf=off".into(),
        "--timezone=off".into(),
        "--".into(),
        "--unit=multi-user.target".into(),
    ]);
    argv
}
