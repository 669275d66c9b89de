//! Twins for tests, and what is done with them.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::Twin;
use model::flow::FlowCount;
use model::inventory::{NodeName, Transport};
use nix::sys::socket::{setsockopt, sockopt};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_vps-test");
pub const FLEET: &str = include_str!("fleet.yaml");

/// Booted once, for all tests that leave it as it was.
pub static SHARED: LazyLock<Site> = LazyLock::new(|| Site::boot("shared", FLEET));

/// A twin that is gone when this is dropped, or when this process ends.
pub struct Site {
    pub name: String,
    pub twin: Twin,
    undertaker: Child,
}

impl Site {
    pub fn boot(what: &str, inventory: &str) -> Self {
        Self::boot_as(&unused_name(what), inventory)
    }

    pub fn boot_as(name: &str, inventory: &str) -> Self {
        let undertaker = undertaker(name);
        let up = up(name, inventory);
        assert!(up.status.success(), "{}", said(&up));
        Self {
            name: name.to_owned(),
            twin: Twin::open(name).unwrap(),
            undertaker,
        }
    }

    pub fn exec(&self, node: &str, command: &[&str]) -> Output {
        lab(&self.name, "exec", &[&[node, "--"], command].concat())
    }

    /// Runs a shell script on a host and returns what it printed.
    pub fn sh(&self, node: &str, script: &str) -> String {
        let output = self.exec(node, &["sh", "-c", script]);
        assert!(
            output.status.success(),
            "{node}: {script}: {}",
            said(&output)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The first address of a host.
    pub fn address(&self, node: &str) -> IpAddr {
        let fleet = self.twin.relocated();
        fleet.node(&NodeName::new(node)).unwrap().address()
    }

    /// A socket that sends and receives as a program on that host would.
    pub fn socket(&self, node: &str) -> UdpSocket {
        self.socket_at(node, self.address(node))
    }

    /// The IPv6 address of a host.
    pub fn address_v6(&self, node: &str) -> IpAddr {
        let fleet = self.twin.relocated();
        let node = fleet.node(&NodeName::new(node)).unwrap();
        *node.addresses.iter().find(|a| a.is_ipv6()).unwrap()
    }

    pub fn socket_at(&self, node: &str, address: IpAddr) -> UdpSocket {
        let namespace = self.twin.namespace(node).unwrap();
        let bound = namespace.run(|| Ok(UdpSocket::bind((address, 0)).unwrap()));
        let socket = bound.unwrap();
        // What the receiver drops for want of room is not what is tested.
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        socket
    }

    /// A socket on each of two hosts.
    pub fn pair(&self, from: &str, to: &str) -> (UdpSocket, UdpSocket) {
        (self.socket(from), self.socket(to))
    }

    /// What the WAN counted from one socket to another.
    pub fn flow(&self, from: &UdpSocket, to: &UdpSocket) -> (u64, u64) {
        let (source, destination) = (from.local_addr().unwrap(), to.local_addr().unwrap());
        let flows: Vec<FlowCount> = self.twin.flows(&[source]).unwrap();
        let mut fits = flows.into_iter().filter(|f| {
            f.flow.transport == Transport::Udp
                && (f.flow.source, f.flow.destination) == (source, destination)
        });
        fits.next()
            .and_then(|f| f.arrived)
            .map_or((0, 0), |arrived| (arrived.packets, arrived.bytes))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.undertaker.stdin.take());
        let _ = self.undertaker.wait();
    }
}

/// Takes the twin down when the pipe to it closes, however this process ends.
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

/// Two runs of these tests at once do not meet.
pub fn unused_name(what: &str) -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    let number = USED.fetch_add(1, Ordering::Relaxed);
    format!("t-{what}-{}-{number}", std::process::id())
}

/// Runs `vps-test lab COMMAND --name NAME …`.
pub fn lab(name: &str, command: &str, args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(["lab", command, "--name", name])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub fn up(name: &str, inventory: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = write_inventory(directory.path(), inventory);
    lab(name, "up", &["--fleet", file.to_str().unwrap()])
}

pub fn write_inventory(directory: &Path, inventory: &str) -> PathBuf {
    let file = directory.join("fleet.yaml");
    std::fs::write(&file, inventory).unwrap();
    file
}

/// An inventory of this many hosts, all at one place.
pub fn fleet_of(hosts: usize) -> String {
    let mut text = "fleet: many\nnodes:\n".to_owned();
    for i in 1..=hosts {
        let (high, low) = (i / 200, i % 200 + 1);
        text += &format!("  - {{ name: n{i}, addresses: [10.0.{high}.{low}], role: test }}\n");
    }
    text
}

/// All that a program said, for messages.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// Polls until it is so.
pub fn wait_until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn peer(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}
