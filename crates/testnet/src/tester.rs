//! Real tester processes, spoken to over their sockets.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use model::protocol::{Call, Failure, Outcome, Request, Response};
use serde::de::DeserializeOwned;

use crate::net::Host;

/// A child that ends with the test.
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Background {
    /// The binary as a coordinator.
    pub fn coordinator(
        host: &Host,
        binary: &str,
        bind: SocketAddr,
        partners: &[SocketAddr],
    ) -> Self {
        let mut command = host.command(binary);
        command.args(["coordinator", "--bind", &bind.to_string()]);
        for partner in partners {
            command.args(["--partner", &partner.to_string()]);
        }
        Self(command.spawn().expect("the coordinator starts"))
    }
}

/// One running tester.
pub struct Tester {
    pub host: Host,
    pub process: Background,
    pub socket: PathBuf,
    next_port: Mutex<u16>,
    _directory: tempfile::TempDir,
}

impl Tester {
    /// Starts the binary on a host and waits until it listens.
    pub fn start(host: &Host, binary: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("agent.sock");
        let child = host
            .command(binary)
            .args(["agent", "--node", &host.namespace, "--project", "test"])
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()
            .expect("the tester starts");
        let tester = Self {
            host: host.clone(),
            process: Background(child),
            socket,
            next_port: Mutex::new(20_000),
            _directory: directory,
        };
        tester.wait_until_listening();
        tester
    }

    /// Calls a method on a connection of its own.
    pub fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        let line = serde_json::to_string(&Request { id: 1, call }).expect("a request is JSON");
        let answer = self.exchange_lines(&line);
        let response: Response = serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("`{answer}` is no response: {error}"));
        match response.outcome {
            Outcome::Result(value) => Ok(serde_json::from_value(value).expect("the right result")),
            Outcome::Error(failure) => Err(failure),
        }
    }

    /// Says one line and hears one.
    pub fn exchange_lines(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("the tester listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a timeout");
        stream
            .write_all(format!("{line}\n").as_bytes())
            .expect("the tester reads");
        let mut answer = String::new();
        BufReader::new(stream)
            .read_line(&mut answer)
            .expect("the tester answers");
        answer
    }

    /// An address with a port that no attempt had.
    pub fn fresh_bind(&self) -> SocketAddr {
        let mut next = self.next_port.lock().expect("no test panicked here");
        *next += 1;
        SocketAddr::new(self.host.address, *next)
    }

    /// Open descriptors of the process.
    pub fn open_fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.0.id()))
            .expect("the process lives")
            .count()
    }

    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))
            .expect("the process lives");
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .expect("a resident size");
        line.split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number")
    }

    fn wait_until_listening(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(&self.socket).is_err() {
            assert!(
                Instant::now() < deadline,
                "{:?} never appeared",
                self.socket
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
