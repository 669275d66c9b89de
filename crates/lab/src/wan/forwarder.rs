//! The thread that moves packets.
//!
//! It sleeps until a host has sent something or a delayed packet is due, and
//! writes every packet to its destination's TUN device. One thread: a packet is
//! copied once where it is delayed, and not at all where it is not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use model::inventory::Link;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::counters::Counters;
use super::packet::{self, Packet};
use super::path::{Fate, Path};
use crate::error::LabError;

/// The largest packet that TUN hands over, with its header.
const FRAME: usize = 65_536 + packet::HEADER;

/// Packets taken from one host before the others and the clock are looked at.
const BURST: usize = 64;

/// Bytes that may be under way in all; beyond, the WAN would be a memory leak.
const MOST_UNDER_WAY: usize = 512 << 20;

const TIMER: u64 = u64::MAX;

/// One end of the WAN: a host, or the controller.
#[derive(Debug)]
pub struct Wire {
    tun: Arc<OwnedFd>,
    networks: Vec<IpAddr>,
    /// A host that is replaced (rebooted) has a new generation.
    generation: u64,
}

/// Shared between the forwarding thread and whoever controls it.
#[derive(Debug)]
pub struct Forwarder {
    epoll: Epoll,
    timer: TimerFd,
    topology: Mutex<Topology>,
    counters: Mutex<Counters>,
}

#[derive(Debug)]
struct Topology {
    wires: Vec<Option<Wire>>,
    by_network: HashMap<IpAddr, usize>,
    /// By sender and receiver.
    paths: HashMap<(usize, usize), Path>,
    generations: u64,
}

impl Forwarder {
    /// For this many ends; `link` says how each ordered pair behaves.
    ///
    /// # Errors
    /// The kernel refuses an epoll or a timer.
    pub fn new(
        ends: usize,
        seed: u64,
        link: impl Fn(usize, usize) -> Link,
    ) -> Result<Arc<Self>, LabError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(LabError::system("make an epoll"))?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )
        .map_err(LabError::system("make a timer"))?;
        epoll
            .add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))
            .map_err(LabError::system("watch a timer"))?;
        let pairs = (0..ends).flat_map(|a| (0..ends).map(move |b| (a, b)));
        let paths = pairs
            .map(|(a, b)| ((a, b), Path::new(link(a, b), pair_seed(seed, a, b))))
            .collect();
        let topology = Topology {
            wires: (0..ends).map(|_| None).collect(),
            by_network: HashMap::new(),
            paths,
            generations: 0,
        };
        Ok(Arc::new(Self {
            epoll,
            timer,
            topology: Mutex::new(topology),
            counters: Mutex::default(),
        }))
    }

    /// Connects an end, in place of what was there.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub fn connect(&self, end: usize, tun: OwnedFd, addresses: &[IpAddr]) -> Result<(), LabError> {
        let mut topology = lock(&self.topology);
        if let Some(old) = topology.wires[end].take() {
            let _ = self.epoll.delete(old.tun.as_fd());
        }
        let tun = Arc::new(tun);
        self.epoll
            .add(
                tun.as_fd(),
                EpollEvent::new(EpollFlags::EPOLLIN, end as u64),
            )
            .map_err(LabError::system("watch a TUN device"))?;
        topology.generations += 1;
        let generation = topology.generations;
        let networks: Vec<IpAddr> = addresses.iter().map(|a| network(*a)).collect();
        for network in &networks {
            topology.by_network.insert(*network, end);
        }
        topology.wires[end] = Some(Wire {
            tun,
            networks,
            generation,
        });
        Ok(())
    }

    /// Takes an end off: what is sent to it is dropped and counted.
    pub fn disconnect(&self, end: usize) {
        if let Some(old) = lock(&self.topology).wires[end].take() {
            let _ = self.epoll.delete(old.tun.as_fd());
        }
    }

    pub fn set_link(&self, from: usize, to: usize, link: Link) {
        if let Some(path) = lock(&self.topology).paths.get_mut(&(from, to)) {
            path.set(link);
        }
    }

    pub fn set_cut(&self, from: usize, to: usize, cut: bool) {
        if let Some(path) = lock(&self.topology).paths.get_mut(&(from, to)) {
            path.set_cut(cut);
        }
    }

    pub fn counters(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
    }

    /// Moves packets until the process ends.
    pub fn run(&self) -> LabError {
        let mut queue = Queue::default();
        let mut buffer = vec![0; FRAME];
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let ready = match self
                .epoll
                .wait(&mut events, nix::sys::epoll::EpollTimeout::NONE)
            {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(error) => return LabError::system("wait for packets")(error),
            };
            for event in &events[..ready] {
                if event.data() == TIMER {
                    let _ = self.timer.wait();
                } else {
                    self.take_from(event.data() as usize, &mut buffer, &mut queue);
                }
                self.deliver_due(&mut queue);
            }
            self.arm(&mut queue);
        }
    }

    fn take_from(&self, end: usize, buffer: &mut [u8], queue: &mut Queue) {
        let mut topology = lock(&self.topology);
        for _ in 0..BURST {
            let Some(wire) = topology.wires[end].as_ref() else {
                return;
            };
            let Ok(length) = nix::unistd::read(&wire.tun, buffer) else {
                return;
            };
            self.route(&mut topology, end, &buffer[..length], queue);
        }
    }

    fn route(&self, topology: &mut Topology, from: usize, frame: &[u8], queue: &mut Queue) {
        let Some(packet) = packet::parse(frame) else {
            self.counters().totals_mut().not_ip += 1;
            return;
        };
        if is_of_a_link(packet.source) || is_of_a_link(packet.destination) {
            return;
        }
        let is_own = topology.wires[from]
            .as_ref()
            .is_some_and(|wire| wire.networks.contains(&network(packet.source)));
        if !is_own {
            self.counters().totals_mut().spoofed += packet.segments;
            return;
        }
        self.counters().left(&packet);
        let Some(&to) = topology.by_network.get(&network(packet.destination)) else {
            self.counters().totals_mut().no_route += packet.segments;
            return;
        };
        let now = Instant::now();
        let Some(path) = topology.paths.get_mut(&(from, to)) else {
            return;
        };
        if path.is_impaired() && packet.segments > 1 {
            let parts: Vec<_> = packet::split(frame);
            for part in parts {
                if let Some(one) = packet::parse(&part) {
                    self.send(topology, (from, to), &part, &one, now, queue);
                }
            }
        } else {
            self.send(topology, (from, to), frame, &packet, now, queue);
        }
    }

    fn send(
        &self,
        topology: &mut Topology,
        pair: (usize, usize),
        frame: &[u8],
        packet: &Packet,
        now: Instant,
        queue: &mut Queue,
    ) {
        let Some(path) = topology.paths.get_mut(&pair) else {
            return;
        };
        match path.fate(now, packet.wire_bytes) {
            Fate::Lost => self.counters().totals_mut().lost += packet.segments,
            Fate::Overflowed => self.counters().totals_mut().overflowed += packet.segments,
            Fate::Arrives(None) => self.write(topology.wires[pair.1].as_ref(), frame, packet),
            Fate::Arrives(Some(due)) => {
                let generation = topology.wires[pair.1].as_ref().map_or(0, |w| w.generation);
                if !queue.push(due, pair.1, generation, frame) {
                    self.counters().totals_mut().unasked += packet.segments;
                }
            }
        }
    }

    fn deliver_due(&self, queue: &mut Queue) {
        let now = Instant::now();
        if !queue.is_due(now) {
            return;
        }
        let topology = lock(&self.topology);
        while let Some(waiting) = queue.pop_due(now) {
            let wire = topology.wires[waiting.to]
                .as_ref()
                .filter(|w| w.generation == waiting.generation);
            if let Some(packet) = packet::parse(&waiting.frame) {
                self.write(wire, &waiting.frame, &packet);
            }
            self.counters()
                .late(Instant::now().saturating_duration_since(waiting.due));
        }
    }

    fn write(&self, wire: Option<&Wire>, frame: &[u8], packet: &Packet) {
        let mut counters = self.counters();
        let Some(wire) = wire else {
            counters.totals_mut().host_down += packet.segments;
            return;
        };
        match nix::unistd::write(&wire.tun, frame) {
            Ok(_) => counters.delivered(packet),
            // The host is rebooting: its device is gone, and so is its listener.
            Err(Errno::EIO | Errno::EBADFD) => counters.totals_mut().host_down += packet.segments,
            Err(_) => counters.totals_mut().unasked += packet.segments,
        }
    }

    /// Wakes this thread when the next packet is due.
    fn arm(&self, queue: &mut Queue) {
        let Some(due) = queue.next_due() else { return };
        let wait = due
            .saturating_duration_since(Instant::now())
            .max(Duration::from_nanos(1));
        let _ = self.timer.set(
            Expiration::OneShot(TimeSpec::from_duration(wait)),
            TimerSetTimeFlags::empty(),
        );
    }
}

/// Packets under way, the next one due first; equal times keep their order.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<Waiting>>,
    pushed: u64,
    bytes: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    number: u64,
    to: usize,
    generation: u64,
    frame: Vec<u8>,
}

impl Queue {
    /// False where too much is under way already.
    fn push(&mut self, due: Instant, to: usize, generation: u64, frame: &[u8]) -> bool {
        if self.bytes + frame.len() > MOST_UNDER_WAY {
            return false;
        }
        self.pushed += 1;
        self.bytes += frame.len();
        self.heap.push(Reverse(Waiting {
            due,
            number: self.pushed,
            to,
            generation,
            frame: frame.to_vec(),
        }));
        true
    }

    fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(waiting)| waiting.due)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.next_due().is_some_and(|due| due <= now)
    }

    fn pop_due(&mut self, now: Instant) -> Option<Waiting> {
        if !self.is_due(now) {
            return None;
        }
        let Reverse(waiting) = self.heap.pop()?;
        self.bytes -= waiting.frame.len();
        Some(waiting)
    }
}

/// What is routed to one host: an IPv4 address, or all of an IPv6 address's /64,
/// as hosting providers do.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// What IPv6 says to its neighbours never leaves a link, and there is nobody on it.
fn is_of_a_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
    }
}

fn pair_seed(seed: u64, from: usize, to: usize) -> u64 {
    let mixed = (from as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93)
        ^ (to as u64).wrapping_mul(0xA076_1D64_78BD_642F);
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ mixed
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
