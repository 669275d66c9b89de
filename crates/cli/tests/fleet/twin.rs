//! The twin that all tests of this program share, and what they do on its hosts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fleet::{Artifact, Host, Reach};
use lab::{HostReport, Twin};
use model::inventory::Node;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_vps-test");

/// Enough for anything that a host of the twin is asked.
pub const SOON: Duration = Duration::from_secs(20);

static SITE: LazyLock<Site> = LazyLock::new(Site::boot);

/// A twin that is up for as long as this process is.
pub struct Site {
    twin: Twin,
    hosts: BTreeMap<String, Arc<Mutex<()>>>,
    /// Takes the twin down when the pipe to it closes, however this process ends.
    _undertaker: Child,
}

impl Site {
    fn boot() -> Self {
        let name = format!("t-fleet-{}", std::process::id());
        let undertaker = undertaker(&name);
        let inventory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/fleet.yaml");
        let up = Command::new(PROGRAM)
            .args(["lab", "up", "--name", &name, "--fleet", inventory])
            .output()
            .unwrap();
        assert!(
            up.status.success(),
            "{}",
            String::from_utf8_lossy(&up.stderr)
        );
        let twin = Twin::open(&name).unwrap();
        let names = twin.fleet().nodes.iter().map(|n| n.name.to_string());
        Self {
            hosts: names.map(|n| (n, Arc::default())).collect(),
            twin,
            _undertaker: undertaker,
        }
    }
}

fn undertaker(name: &str) -> Child {
    let script = "trap '' INT TERM HUP; cat >/dev/null; exec \"$0\" lab down --name \"$1\"";
    Command::new("setsid")
        .args(["sh", "-c", script, PROGRAM, name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub fn reach() -> Reach {
    Reach {
        ssh_config: Some(SITE.twin.ssh_config()),
        connect_timeout: Duration::from_secs(10),
        control_dir: None,
    }
}

/// A node as the inventory has it.
pub fn node(name: &str) -> Node {
    let nodes = &SITE.twin.fleet().nodes;
    nodes
        .iter()
        .find(|n| n.name.as_str() == name)
        .unwrap()
        .clone()
}

/// The address that it has in the twin.
pub fn address(name: &str) -> IpAddr {
    let fleet = SITE.twin.relocated();
    let found = fleet.nodes.iter().find(|n| n.name.as_str() == name);
    found.unwrap().address()
}

/// What the twin says of a host.
pub fn report(name: &str) -> HostReport {
    let status = SITE.twin.status().unwrap();
    let found = status.hosts.into_iter().find(|h| h.name.as_str() == name);
    found.unwrap()
}

pub async fn connect(name: &str) -> Host {
    Host::connect(&reach(), &node(name)).await.unwrap()
}

/// A host that no other test touches meanwhile.
pub async fn alone(name: &str) -> (Host, OwnedMutexGuard<()>) {
    let guard = Arc::clone(&SITE.hosts[name]).lock_owned().await;
    (connect(name).await, guard)
}

/// Runs a script on a host and returns what it printed.
pub async fn sh(host: &Host, script: &str) -> String {
    let text = host.script_ok(script, None, SOON).await.unwrap();
    text.trim().to_owned()
}

/// `/usr/bin/sleep` under another digest for each version.
pub fn sleeper(version: &str) -> Artifact {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sleeper");
    let mut content = std::fs::read("/usr/bin/sleep").unwrap();
    content.extend_from_slice(version.as_bytes());
    std::fs::write(&path, content).unwrap();
    Artifact::read(&path).unwrap()
}

/// The prober, which `cargo xtask test` builds first.
pub static UDP_TEST: LazyLock<Artifact> = LazyLock::new(|| {
    let path: PathBuf = Path::new(PROGRAM).with_file_name("udp-test");
    Artifact::read(&path).expect("build the workspace first: cargo build --workspace")
});

pub fn endpoint(name: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address(name), port)
}
