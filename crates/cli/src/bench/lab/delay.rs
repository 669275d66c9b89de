//! Whether packets arrive when they should, and all of them.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

use lab::{LabError, Twin};
use miette::{IntoDiagnostic, miette};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::{boot, two_hosts};

const SET_MS: f64 = 20.0;
const EVERY: Duration = Duration::from_micros(100);
const PACKETS: u32 = 50_000;
const SIZE: usize = 200;

pub struct Delay {
    /// 99% of the packets arrive no further from the set value than this.
    pub off_p99_ms: f64,
    /// Dropped by the WAN, or never seen again.
    pub drops: f64,
}

pub fn measure() -> miette::Result<Delay> {
    let (twin, _guard) = boot(&two_hosts(SET_MS))?;
    let (sender, receiver) = (socket(&twin, "sender")?, socket(&twin, "receiver")?);
    prepare(&receiver).into_diagnostic()?;
    let to = receiver.local_addr().into_diagnostic()?;
    let mut delays = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver));
        send(&sender, to).into_diagnostic()?;
        receiving
            .join()
            .map_err(|_| miette!("the receiver panicked"))
    })?;
    let status = twin.status()?;
    let late = status.lateness;
    eprintln!(
        "delay: {} of {PACKETS} packets arrived; the WAN itself says p50 {:.3} ms, p99 {:.3} ms",
        delays.len(),
        late.p50_ms,
        late.p99_ms
    );
    let lost = PACKETS as usize - delays.len();
    let dropped = usize::try_from(status.wan.unasked).unwrap_or(usize::MAX);
    for delay in &mut delays {
        *delay = (*delay - SET_MS).abs();
    }
    delays.sort_by(f64::total_cmp);
    let p99 = delays.get(delays.len() * 99 / 100).copied();
    Ok(Delay {
        off_p99_ms: p99.unwrap_or(f64::MAX),
        drops: lost.max(dropped) as f64,
    })
}

fn socket(twin: &Twin, node: &str) -> miette::Result<UdpSocket> {
    let fleet = twin.relocated();
    let found = fleet.nodes.iter().find(|n| n.name.as_str() == node);
    let address = found.ok_or_else(|| miette!("no host `{node}`"))?.address();
    let bound = twin.namespace(node)?.run(|| {
        UdpSocket::bind((address, 0)).map_err(|source| LabError::System {
            action: format!("listen at {address}"),
            source,
        })
    });
    Ok(bound?)
}

/// Room for all packets, and their times of arrival.
fn prepare(socket: &UdpSocket) -> std::io::Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &(64 << 20))?;
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))
}

/// Each packet says when it left.
fn send(socket: &UdpSocket, to: SocketAddr) -> std::io::Result<()> {
    let began = Instant::now();
    let mut packet = [0; SIZE];
    for number in 0..PACKETS {
        std::thread::sleep((EVERY * number).saturating_sub(began.elapsed()));
        let left = u64::try_from(now().as_nanos()).unwrap_or(u64::MAX);
        packet[..8].copy_from_slice(&left.to_be_bytes());
        socket.send_to(&packet, to)?;
    }
    Ok(())
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// One-way delays in milliseconds, until nothing has come for a while.
fn receive(socket: &UdpSocket) -> Vec<f64> {
    let mut delays = Vec::with_capacity(PACKETS as usize);
    while let Some((left, arrived)) = receive_one(socket) {
        delays.push(arrived.saturating_sub(left).as_secs_f64() * 1e3);
    }
    delays
}

/// When a packet left, and when its host had it: the kernel says so, because
/// this program may get to run much later.
fn receive_one(socket: &UdpSocket) -> Option<(Duration, Duration)> {
    let mut packet = [0; SIZE];
    let mut parts = [IoSliceMut::new(&mut packet)];
    let mut space = nix::cmsg_space!(TimeSpec);
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let arrived = message.cmsgs().ok()?.find_map(|part| match part {
        ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
        _ => None,
    })?;
    let left = packet
        .first_chunk()
        .map(|bytes| u64::from_be_bytes(*bytes))?;
    Some((Duration::from_nanos(left), arrived))
}
