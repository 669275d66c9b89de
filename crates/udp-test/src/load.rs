//! The suite `throughput` without a stack: datagrams as fast as they go, and plain TCP.
//! What they reach is the ceiling that stacks are set beside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::load::{Came, Inflow, Step, cpu_ms_since, cpu_time, receive, said, send};
use model::load::{Over, Send, Sent, block};
use model::protocol::{Failure, Perform, Performed, Reason};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;

use crate::attempt::Attempt;
use crate::punch::Link;
use crate::wire::{DATAGRAM_BYTES, FRAME_BYTES};

/// First byte of a datagram that is only there to fill the path, and of the ones that
/// say that no more will come. An exchange's messages begin otherwise.
const FILL: u8 = 0xB1;
const END: u8 = 0xB2;
/// Every one of them may be lost.
const ENDS: u32 = 10;
const BETWEEN_ENDS: Duration = Duration::from_millis(20);
/// With no datagram for so long, the rest was lost, the last ones included.
const SILENCE: Duration = Duration::from_secs(2);
/// What was overtaken by the end of its transfer comes in this.
const OVERTAKEN: Duration = Duration::from_millis(200);

/// Datagrams of one call: less than 64 KiB.
const AT_ONCE: usize = 40;

const ONCE_MORE: Duration = Duration::from_millis(50);

/// What came in so far of the transfer that is under way, if any.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    bytes: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    has_ended: bool,
}

impl Tally {
    /// Whether this message belongs to a transfer; it is counted then.
    pub fn takes(tally: &watch::Sender<Self>, message: &[u8]) -> bool {
        match message.first() {
            Some(&FILL) => {
                let now = Instant::now();
                tally.send_modify(|tally| {
                    tally.bytes += message.len() as u64;
                    tally.first.get_or_insert(now);
                    tally.last = Some(now);
                });
                true
            }
            Some(&END) => {
                tally.send_if_modified(|tally| !std::mem::replace(&mut tally.has_ended, true));
                true
            }
            _ => false,
        }
    }
}

pub async fn perform(attempt: &Attempt, call: &Perform) -> Result<Performed, Failure> {
    let limit = Duration::from_millis(call.timeout_ms);
    let link = &attempt.link;
    match Step::read(call)? {
        Step::Receive(asked) => {
            let inflow = match asked.over {
                Over::Connection => {
                    link.tally.send_replace(Tally::default());
                    Inflow::begin(datagrams(Arc::clone(link)))
                }
                Over::Tcp(to) => Inflow::begin(from_tcp(link.local, to)),
            };
            attempt.incoming.put(inflow);
            Ok(Performed::default())
        }
        Step::Received => Ok(said(&attempt.incoming.end(limit).await?)),
        Step::Send(asked) => {
            let cpu = cpu_time();
            let sending = async {
                match asked.over {
                    Over::Connection => flood(link, &asked).await,
                    Over::Tcp(to) => to_tcp(link.local, to, &asked).await,
                }
            };
            tokio::time::timeout(limit, sending)
                .await
                .map_err(|_| Failure::new(Reason::Timeout, format!("not done within {limit:?}")))?
                .map_err(|error| Failure::new(Reason::Closed, error))?;
            Ok(said(&Sent {
                cpu_ms: cpu_ms_since(cpu),
                packets: None,
            }))
        }
    }
}

async fn flood(link: &Link, asked: &Send) -> Result<(), String> {
    let seed = asked.seeds.first().ok_or("no seed")?;
    let mut message = block(seed);
    message.truncate(DATAGRAM_BYTES - FRAME_BYTES);
    message[0] = FILL;
    let at_once = if cuts_by_kernel(&link.socket) {
        AT_ONCE
    } else {
        1
    };
    let until = Instant::now() + Duration::from_secs(asked.seconds);
    loop {
        link.send_payloads(&message, at_once).await?;
        if Instant::now() >= until {
            break;
        }
    }
    for _ in 0..ENDS {
        tokio::time::sleep(BETWEEN_ENDS).await;
        link.send_payloads(&[END], 1).await?;
    }
    Ok(())
}

/// Stacks hand the kernel many datagrams in one call, and a ceiling has to as well.
/// Linux alone does it; shorter datagrams go as they are.
fn cuts_by_kernel(socket: &UdpSocket) -> bool {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
        let length = i32::try_from(DATAGRAM_BYTES).unwrap_or(i32::MAX);
        setsockopt(socket, UdpGsoSegment, &length).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        false
    }
}

async fn datagrams(link: Arc<Link>) -> Result<Vec<Came>, String> {
    let mut tally = link.tally.subscribe();
    loop {
        let now = *tally.borrow_and_update();
        let patience = if now.has_ended { OVERTAKEN } else { SILENCE };
        let changed = tokio::time::timeout(patience, tally.changed()).await;
        if let (true, Some(first), Some(last)) = (changed.is_err(), now.first, now.last) {
            return Ok(vec![Came::datagrams(now.bytes, first, last)]);
        }
    }
}

async fn from_tcp(local: SocketAddr, to: Option<SocketAddr>) -> Result<Vec<Came>, String> {
    let work = async {
        let (reader, writer) = connection(local, to).await?.into_split();
        receive(reader, writer).await
    };
    let came: std::io::Result<Came> = work.await;
    came.map(|came| vec![came])
        .map_err(|error| said_of(to, local, &error))
}

async fn to_tcp(local: SocketAddr, to: Option<SocketAddr>, asked: &Send) -> Result<(), String> {
    let seed = asked.seeds.first().ok_or("no seed")?;
    let work = async {
        let (reader, writer) = connection(local, to).await?.into_split();
        send(reader, writer, seed, asked.seconds).await
    };
    let sent: std::io::Result<()> = work.await;
    sent.map_err(|error| said_of(to, local, &error))
}

fn said_of(to: Option<SocketAddr>, local: SocketAddr, error: &std::io::Error) -> String {
    match to {
        Some(to) => format!("TCP to {to}: {error}"),
        None => format!("TCP at {local}: {error}"),
    }
}

/// Dials where there is somebody to dial, until the other side listens; or accepts one.
async fn connection(local: SocketAddr, to: Option<SocketAddr>) -> std::io::Result<TcpStream> {
    let socket = || -> std::io::Result<TcpSocket> {
        let socket = match local {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        Ok(socket)
    };
    let Some(to) = to else {
        let socket = socket()?;
        socket.bind(local)?;
        return Ok(socket.listen(1)?.accept().await?.0);
    };
    loop {
        let socket = socket()?;
        socket.bind(SocketAddr::new(local.ip(), 0))?;
        match socket.connect(to).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                tokio::time::sleep(ONCE_MORE).await;
            }
            answer => return answer,
        }
    }
}
