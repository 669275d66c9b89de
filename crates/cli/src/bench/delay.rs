//! One-way delay of a stream of datagrams, each with the time it was sent. All
//! hosts of a twin read one clock: their kernel's.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use miette::IntoDiagnostic;
use nix::time::{ClockId, clock_gettime};

const PER_SECOND: u32 = 10_000;
pub const SENT: u32 = 3 * PER_SECOND;

pub fn send(to: SocketAddr) -> miette::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").into_diagnostic()?;
    let began = Instant::now();
    for number in 0..SENT {
        let due = Duration::from_secs(1) / PER_SECOND * number;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let mut datagram = [0; 200];
        datagram[..8].copy_from_slice(&now()?.to_be_bytes());
        socket.send_to(&datagram, to).into_diagnostic()?;
    }
    Ok(())
}

/// Until nothing has come for a second after the first.
pub fn receive(at: SocketAddr) -> miette::Result<()> {
    let socket = UdpSocket::bind(at).into_diagnostic()?;
    let mut delays = Vec::with_capacity(SENT as usize);
    let mut datagram = [0; 256];
    while let Ok(length) = socket.recv(&mut datagram) {
        let arrived = now()?;
        if let Some(stamp) = datagram[..length].first_chunk::<8>() {
            delays.push(arrived - i64::from_be_bytes(*stamp));
        }
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .into_diagnostic()?;
    }
    let words: Vec<String> = delays.iter().map(i64::to_string).collect();
    println!("{}", words.join(" "));
    Ok(())
}

fn now() -> miette::Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).into_diagnostic()?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
