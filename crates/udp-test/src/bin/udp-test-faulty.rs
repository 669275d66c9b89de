//! A tester that fails on purpose, every pair of nodes in a way of its own. The
//! harness's explanations are tested with it; nothing else uses it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::{Description, Tester};
use model::protocol::{
    Announce, Announced, ClaimedPath, Connected, Dial, Exchange, Exchanged, Expect, Failure,
    Finished, ObservedAddress, Prepare, Prepared, Reason, Received, Rung, Sent,
};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// Nobody listens there.
const SINK: u16 = 9999;

fn main() -> std::process::ExitCode {
    let mut words = std::env::args().skip_while(|word| word != "--node");
    let node = words.nth(1).unwrap_or_default();
    agent::main(Faulty { node })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Unanswered,
    NoHandshake,
    CalleeMute,
    CallerMute,
    CallerLate,
    Stalled,
    Corrupt,
    InnerAddress,
    RelayIdle,
    WrongPort,
    EarlyProbe,
    NotPlayed,
}

impl Fault {
    fn of(caller: &str, callee: &str) -> Self {
        match (caller, callee) {
            ("one", "two") => Self::Unanswered,
            ("two", "one") => Self::NoHandshake,
            ("one", "p1") => Self::CalleeMute,
            ("p1", "one") => Self::CallerMute,
            ("two", "p1") => Self::CallerLate,
            ("p1", "two") => Self::Stalled,
            ("p2", "two") => Self::Corrupt,
            ("two", "p2") => Self::InnerAddress,
            ("p1", "hard") => Self::RelayIdle,
            ("one", "p2") => Self::WrongPort,
            ("p2", "p1") => Self::EarlyProbe,
            _ => Self::NotPlayed,
        }
    }
}

struct Faulty {
    node: String,
}

struct Attempt {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    node: String,
    relay: SocketAddr,
    observed: Vec<ObservedAddress>,
    bytes: u64,
    fault: Mutex<Fault>,
    work: Mutex<Vec<AbortOnDropHandle<()>>>,
}

/// So many packets, this far apart, after this long.
#[derive(Clone, Copy)]
struct Burst {
    after_ms: u64,
    packets: u32,
    apart_ms: u64,
}

const FEW: Burst = Burst {
    after_ms: 0,
    packets: 5,
    apart_ms: 40,
};

impl Attempt {
    fn send(&self, to: SocketAddr, burst: Burst) {
        let socket = Arc::clone(&self.socket);
        let task = tokio::spawn(async move {
            sleep(Duration::from_millis(burst.after_ms)).await;
            for _ in 0..burst.packets {
                let _ = socket.send_to(&[0x5a; 100], to).await;
                sleep(Duration::from_millis(burst.apart_ms)).await;
            }
        });
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.push(AbortOnDropHandle::new(task));
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn play(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// `node@address` as a peer is named here.
fn parts(peer: &str) -> (&str, Option<SocketAddr>) {
    let (node, bind) = peer.split_once('@').unwrap_or((peer, ""));
    (node, bind.parse().ok())
}

fn failed(what: &str) -> Failure {
    Failure::new(Reason::Timeout, what)
}

impl Tester for Faulty {
    type Attempt = Attempt;

    fn describe(&self) -> Description {
        Description {
            tester: "udp-test-faulty",
            version: env!("CARGO_PKG_VERSION"),
            stack: "faults",
            stack_version: env!("CARGO_PKG_VERSION").into(),
            capabilities: Vec::new(),
            rungs: vec![Rung::Direct, Rung::Punched, Rung::Relayed],
            log_filter: "udp_test_faulty=info",
        }
    }

    async fn prepare(&self, call: Prepare) -> Result<(Attempt, Prepared), Failure> {
        let bound = UdpSocket::bind(call.bind).await;
        let socket = bound.map_err(|e| Failure::new(Reason::Infrastructure, e.to_string()))?;
        let observed = ask(&socket, &self.node, &call.coordinators).await?;
        let relay = call
            .coordinators
            .first()
            .map_or(IpAddr::from([127, 0, 0, 1]), |c| c.ip());
        let prepared = Prepared {
            peer: format!("{}@{}", self.node, call.bind),
            local: call.bind,
            observed: observed.clone(),
        };
        let attempt = Attempt {
            socket: Arc::new(socket),
            local: call.bind,
            node: self.node.clone(),
            relay: SocketAddr::new(relay, SINK),
            observed,
            bytes: call.payload.bytes,
            fault: Mutex::new(Fault::NotPlayed),
            work: Mutex::default(),
        };
        Ok((attempt, prepared))
    }

    async fn expect(&self, attempt: &Attempt, call: Expect) -> Result<(), Failure> {
        let fault = Fault::of(parts(&call.target.peer).0, &attempt.node);
        attempt.play(fault);
        let Some(caller) = call.target.addresses.first().copied() else {
            return Ok(());
        };
        match fault {
            Fault::NoHandshake | Fault::Stalled | Fault::Corrupt | Fault::CallerLate => {
                attempt.send(caller, FEW)
            }
            Fault::WrongPort => attempt.send(SocketAddr::new(caller.ip(), caller.port() + 1), FEW),
            Fault::EarlyProbe => attempt.send(
                caller,
                Burst {
                    after_ms: 400,
                    ..FEW
                },
            ),
            _ => {}
        }
        Ok(())
    }

    async fn dial(&self, attempt: &Attempt, call: Dial) -> Result<Connected, Failure> {
        let (callee, bind) = parts(&call.target.peer);
        let fault = Fault::of(&attempt.node, callee);
        attempt.play(fault);
        if matches!(call.rung, Rung::Relayed | Rung::Reverse) {
            for relay in &call.target.relays {
                attempt.send(*relay, FEW);
            }
            sleep(Duration::from_millis(400)).await;
            return Err(failed("the relay did not connect us"));
        }
        let Some(address) = call.target.addresses.first().copied() else {
            return Err(failed("no address"));
        };
        let longer = Burst {
            packets: 12,
            apart_ms: 80,
            ..FEW
        };
        match fault {
            Fault::CallerMute | Fault::NotPlayed => return Err(failed("nothing was tried")),
            Fault::InnerAddress => attempt.send(bind.unwrap_or(address), FEW),
            Fault::CallerLate => attempt.send(
                address,
                Burst {
                    after_ms: 600,
                    ..FEW
                },
            ),
            Fault::EarlyProbe => attempt.send(address, longer),
            _ => attempt.send(address, FEW),
        }
        sleep(Duration::from_millis(1000)).await;
        if !matches!(fault, Fault::Stalled | Fault::Corrupt) {
            return Err(failed("no connection came of it"));
        }
        Ok(Connected {
            remote: address,
            claimed: ClaimedPath::Direct,
            elapsed_ms: 1000.0,
        })
    }

    async fn announce(&self, attempt: &Attempt, _: Announce) -> Result<Announced, Failure> {
        if attempt.fault() != Fault::RelayIdle {
            return Err(Failure::new(Reason::NoAddress, "no relay wants us"));
        }
        Ok(Announced {
            relays: vec![attempt.relay],
        })
    }

    async fn exchange(&self, attempt: &Attempt, _: Exchange) -> Result<Exchanged, Failure> {
        if Fault::Stalled == attempt.fault() {
            return Err(failed("no bytes came"));
        }
        let sha256 = "00".repeat(32);
        Ok(Exchanged {
            sent: Sent {
                bytes: attempt.bytes,
                acknowledged_sha256: Some(sha256.clone()),
            },
            received: Received {
                bytes: attempt.bytes,
                sha256,
            },
            elapsed_ms: 1.0,
        })
    }

    async fn finish(&self, attempt: &Attempt) -> Finished {
        attempt
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        Finished {
            local: attempt.local,
            observed: attempt.observed.clone(),
            remote: None,
            claimed: ClaimedPath::Unknown,
            sent: None,
            received: None,
        }
    }

    /// Tells everybody where they are seen, and `mute` nothing.
    async fn coordinate(&self, bind: SocketAddr, _: Vec<SocketAddr>) -> Result<(), Failure> {
        let bound = UdpSocket::bind(bind).await;
        let socket = bound.map_err(|e| Failure::new(Reason::Infrastructure, e.to_string()))?;
        let mut buffer = [0; 256];
        loop {
            if let Ok((length, from)) = socket.recv_from(&mut buffer).await
                && buffer[..length] != *b"mute"
            {
                let _ = socket.send_to(from.to_string().as_bytes(), from).await;
            }
        }
    }
}

async fn ask(
    socket: &UdpSocket,
    node: &str,
    coordinators: &[SocketAddr],
) -> Result<Vec<ObservedAddress>, Failure> {
    let mut observed = Vec::new();
    for by in coordinators {
        for _ in 0..3 {
            let _ = socket.send_to(node.as_bytes(), by).await;
            let mut buffer = [0; 64];
            let answer = timeout(Duration::from_millis(200), socket.recv_from(&mut buffer)).await;
            let Ok(Ok((length, from))) = answer else {
                continue;
            };
            let seen = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
            if let (Ok(address), true) = (seen.parse(), from == *by) {
                observed.push(ObservedAddress { by: *by, address });
                break;
            }
        }
    }
    if observed.is_empty() {
        return Err(failed("no coordinator answered"));
    }
    Ok(observed)
}
