//! Packets that say when they left, and what became of them.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::site::peer;

/// What arrived: number of the packet and its one-way delay, in order of arrival.
pub type Arrivals = Vec<(u32, Duration)>;

/// Sends this many packets of this size, `every` apart, and waits for the last.
pub fn send(pair: &(UdpSocket, UdpSocket), count: u32, size: usize, every: Duration) -> Arrivals {
    let (from, to) = pair;
    let destination = peer(to);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(to, began));
        for number in 0..count {
            let due = every * number;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let packet = packet(number, began.elapsed(), size);
            from.send_to(&packet, destination).unwrap();
        }
        receiver.join().unwrap()
    })
}

fn packet(number: u32, at: Duration, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4..12].copy_from_slice(&u64::try_from(at.as_nanos()).unwrap().to_be_bytes());
    bytes
}

/// Until nothing has come for as long as the socket's timeout.
fn receive(socket: &UdpSocket, began: Instant) -> Arrivals {
    let mut arrivals = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer) {
        assert!(length >= 12);
        let number = u32::from_be_bytes(buffer[..4].try_into().unwrap());
        let left = u64::from_be_bytes(buffer[4..12].try_into().unwrap());
        arrivals.push((
            number,
            began.elapsed().saturating_sub(Duration::from_nanos(left)),
        ));
    }
    arrivals
}

/// Sends `segments` datagrams of `size` bytes in one system call.
pub fn send_segmented(pair: &(UdpSocket, UdpSocket), segments: usize, size: usize) {
    let (from, to) = pair;
    setsockopt(
        &from.as_fd(),
        sockopt::UdpGsoSegment,
        &i32::try_from(size).unwrap(),
    )
    .unwrap();
    let sent = from.send_to(&vec![7; segments * size], peer(to)).unwrap();
    assert_eq!(sent, segments * size);
}

/// How many datagrams of exactly this size arrive until nothing comes any more.
pub fn count(socket: &UdpSocket, size: usize) -> usize {
    let mut buffer = [0; 65_536];
    let mut count = 0;
    while let Ok(length) = socket.recv(&mut buffer) {
        assert_eq!(length, size);
        count += 1;
    }
    count
}

/// The least delay of all: what the WAN adds, without what a busy machine adds.
pub fn least_ms(arrivals: &Arrivals) -> f64 {
    let least = arrivals.iter().map(|(_, delay)| *delay).min().unwrap();
    least.as_secs_f64() * 1e3
}
