//! What is said over a twin's control socket: a line of JSON each way, and for
//! `connect` a descriptor behind the answer.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use model::flow::FlowCount;
use model::inventory::{Link, NodeName};
use serde::{Deserialize, Serialize};

use crate::error::LabError;
use crate::wan::Lateness;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    Status,
    Flows {
        touching: Vec<SocketAddr>,
    },
    SetLink {
        from: NodeName,
        to: NodeName,
        link: Link,
    },
    /// Both directions between two nodes.
    Cut {
        a: NodeName,
        b: NodeName,
        cut: bool,
    },
    /// A TCP connection from the controller; the descriptor follows the answer.
    Connect {
        host: String,
        port: u16,
    },
    /// A host's network namespace; the descriptor follows the answer.
    Namespace {
        host: String,
    },
    Down,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    Status(Status),
    Flows(Vec<FlowCount>),
    Error(String),
}

/// The twin as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub fleet: String,
    pub daemon_pid: u32,
    pub hosts: Vec<HostReport>,
    pub wan: WanCounters,
    pub lateness: Lateness,
}

impl Status {
    pub fn is_ready(&self) -> bool {
        self.hosts.iter().all(|host| host.state == HostState::Ready)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    pub name: NodeName,
    pub hostname: String,
    pub addresses: Vec<IpAddr>,
    pub state: HostState,
    pub reboots: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    Booting,
    /// Its sshd answers.
    Ready,
    /// It was powered off, or its systemd ended.
    Off(String),
}

/// Wire packets by what became of them, since the twin was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WanCounters {
    pub delivered: u64,
    /// As the pair's loss or cut asks.
    pub lost: u64,
    /// As the pair's rate asks.
    pub overflowed: u64,
    /// Dropped by the WAN for want of anything better: a defect of the twin.
    pub unasked: u64,
    /// To a host that was down or rebooting.
    pub host_down: u64,
    /// From an address that is not the sender's.
    pub spoofed: u64,
    /// To an address that no host has.
    pub no_route: u64,
    pub not_ip: u64,
    /// UDP that left the hosts, in bytes with the headers of IP and UDP.
    #[serde(default)]
    pub udp_bytes: u64,
}

/// How long a host's port may take to answer the controller.
pub const CONNECT: Duration = Duration::from_secs(10);

/// Longer than any answer takes: a daemon that is stuck must not stick its users.
fn patience(request: &Request) -> Duration {
    let own = Duration::from_secs(5);
    match request {
        Request::Connect { .. } => CONNECT + own,
        _ => own,
    }
}

/// Asks once; the stream is for what may follow the answer.
pub fn ask(socket: &Path, request: &Request) -> Result<(Answer, UnixStream), LabError> {
    let failed = || LabError::file("talk to", socket);
    let mut stream = UnixStream::connect(socket).map_err(failed())?;
    stream
        .set_read_timeout(Some(patience(request)))
        .map_err(failed())?;
    let mut line = serde_json::to_vec(request).map_err(|e| LabError::Daemon(e.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed())?;
    let answer = match request {
        Request::Connect { .. } | Request::Namespace { .. } => read_line(&stream),
        _ => read_to_line_end(&stream),
    };
    let answer = answer.map_err(failed())?;
    let answer = serde_json::from_str(&answer).map_err(|e| LabError::Daemon(e.to_string()))?;
    match answer {
        Answer::Error(detail) => Err(LabError::Daemon(detail)),
        answer => Ok((answer, stream)),
    }
}

fn read_to_line_end(stream: &UnixStream) -> std::io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// A line, byte by byte: what follows it (a descriptor's byte) must stay unread.
pub fn read_line(stream: &UnixStream) -> std::io::Result<String> {
    let mut line = String::new();
    BufReader::with_capacity(1, stream).read_line(&mut line)?;
    Ok(line)
}
