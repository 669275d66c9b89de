//! Selective repeat in both directions, without I/O and without a clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use model::protocol::{Received, Sent};
use sha2::{Digest, Sha256};

use super::wire::{DATA_HEADER, MOST_BYTES, Message};

/// Chunks on their way at once. An `Ack` reports exactly this many beyond its base.
const WINDOW: usize = 64;
const LONGEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How a transport wants its messages.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Longest message that goes through whole, in bytes.
    pub max_message: usize,
    /// Between two messages, so that a burst does not fill a queue on the way.
    pub pace: Duration,
    /// Until a round trip was measured: how long to wait before a message is sent again.
    pub first_timeout: Duration,
    /// The retransmission timeout never falls below this.
    pub least_timeout: Duration,
}

/// One side's view of an exchange.
#[derive(Debug)]
pub struct Transfer {
    settings: Settings,
    started: bool,
    outgoing: Outgoing,
    incoming: Incoming,
    round_trip: RoundTrip,
    replies: VecDeque<Message>,
}

#[derive(Debug)]
struct Outgoing {
    payload: Vec<u8>,
    chunk: usize,
    chunks: Vec<Chunk>,
    /// Every chunk below is acknowledged.
    base: usize,
    acknowledged: Option<[u8; 32]>,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    state: ChunkState,
    sends: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum ChunkState {
    Waiting,
    Sent(Instant),
    Acknowledged,
}

#[derive(Debug, Default)]
struct Incoming {
    total: u64,
    chunks: Vec<Option<Vec<u8>>>,
    /// Every chunk below is here.
    base: usize,
    complete: Option<[u8; 32]>,
    /// The other side knows that we have it all.
    heard: bool,
    /// When and how often `Done` was said.
    done_sent: Option<(Instant, u32)>,
}

#[derive(Debug)]
struct RoundTrip {
    smoothed: Option<Duration>,
    first: Duration,
    least: Duration,
}

impl Transfer {
    pub fn new(payload: Vec<u8>, settings: Settings) -> Self {
        let chunk = settings.max_message.saturating_sub(DATA_HEADER).max(1);
        // An empty payload is one empty chunk, so that there is something to acknowledge.
        let count = payload.len().div_ceil(chunk).max(1);
        let fresh = Chunk {
            state: ChunkState::Waiting,
            sends: 0,
        };
        Self {
            settings,
            started: false,
            outgoing: Outgoing {
                payload,
                chunk,
                chunks: vec![fresh; count],
                base: 0,
                acknowledged: None,
            },
            incoming: Incoming::default(),
            round_trip: RoundTrip {
                smoothed: None,
                first: settings.first_timeout,
                least: settings.least_timeout,
            },
            replies: VecDeque::new(),
        }
    }

    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Begin to send; the first message from the other side does it too.
    pub fn start(&mut self) {
        self.started = true;
    }

    /// A message came from the other side.
    pub fn receive(&mut self, message: &[u8], now: Instant) {
        let Some(message) = Message::decode(message) else {
            return;
        };
        self.started = true;
        match message {
            Message::Data {
                total,
                chunk,
                index,
                bytes,
            } => {
                self.incoming.take(total, chunk, index, bytes);
                match self.incoming.complete {
                    // What we said was lost, or is on its way.
                    Some(_) if self.incoming.heard => {}
                    Some(_) => self.incoming.done_sent = None,
                    None => self.reply(self.incoming.ack()),
                }
            }
            Message::Ack { base, beyond } => {
                self.outgoing
                    .acknowledge(base, beyond, now, &mut self.round_trip);
            }
            Message::Done { sha256 } => {
                self.outgoing.acknowledged = Some(sha256);
                self.reply(Message::Heard);
            }
            Message::Heard => self.incoming.heard = self.incoming.complete.is_some(),
        }
    }

    /// The next message that is due; `None` until a message came or `wake_at` has come.
    pub fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply.encode());
        }
        if let Some(done) = self.incoming.done_due(now, &self.round_trip) {
            return Some(done.encode());
        }
        if !self.started {
            return None;
        }
        let index = self.outgoing.due(now, &self.round_trip)?;
        Some(self.outgoing.send(index, now).encode())
    }

    /// When `poll` will have something, if nothing comes in.
    pub fn wake_at(&self) -> Option<Instant> {
        let chunk = self
            .started
            .then(|| self.outgoing.next_due(&self.round_trip));
        [chunk.flatten(), self.incoming.next_done(&self.round_trip)]
            .into_iter()
            .flatten()
            .min()
    }

    /// The other side acknowledged the digest of ours, and we have all of its.
    pub fn is_done(&self) -> bool {
        self.outgoing.acknowledged.is_some() && self.incoming.complete.is_some()
    }

    /// Done, and the other side knows as much.
    pub fn is_settled(&self) -> bool {
        self.is_done() && self.incoming.heard
    }

    /// `None` before anything was sent.
    pub fn sent(&self) -> Option<Sent> {
        let touched = self.outgoing.chunks.iter().any(|c| c.sends > 0);
        touched.then(|| Sent {
            bytes: self.outgoing.sent_bytes(),
            acknowledged_sha256: self.outgoing.acknowledged.map(hex::encode),
        })
    }

    /// `None` before anything came. The digest is that of the bytes that did.
    pub fn received(&self) -> Option<Received> {
        if self.incoming.chunks.is_empty() {
            return None;
        }
        let here = self.incoming.chunks.iter().flatten();
        Some(Received {
            bytes: here.clone().map(|c| c.len() as u64).sum(),
            sha256: hex::encode(
                here.fold(Sha256::new(), |hash, chunk| hash.chain_update(chunk))
                    .finalize(),
            ),
        })
    }

    /// One acknowledgement is enough for a batch of chunks.
    fn reply(&mut self, message: Message) {
        let same_kind =
            |queued: &Message| std::mem::discriminant(queued) == std::mem::discriminant(&message);
        self.replies.retain(|queued| !same_kind(queued));
        self.replies.push_back(message);
    }
}

impl Outgoing {
    fn acknowledge(&mut self, base: u32, beyond: u64, now: Instant, round_trip: &mut RoundTrip) {
        let base = (base as usize).min(self.chunks.len());
        let ahead = (0..64usize).filter(|bit| beyond >> bit & 1 == 1);
        let acknowledged = (self.base..base).chain(ahead.map(|bit| base + 1 + bit));
        for index in acknowledged {
            let Some(chunk) = self.chunks.get_mut(index) else {
                break;
            };
            // Karn: an answer to one of two sends says nothing of how long either took.
            if let (ChunkState::Sent(at), 1) = (chunk.state, chunk.sends) {
                round_trip.measured(now.saturating_duration_since(at));
            }
            chunk.state = ChunkState::Acknowledged;
        }
        while let Some(chunk) = self.chunks.get(self.base)
            && chunk.state == ChunkState::Acknowledged
        {
            self.base += 1;
        }
    }

    fn due(&self, now: Instant, round_trip: &RoundTrip) -> Option<usize> {
        self.in_window()
            .find(|&index| self.due_at(index, round_trip).is_none_or(|at| at <= now))
    }

    fn next_due(&self, round_trip: &RoundTrip) -> Option<Instant> {
        self.in_window()
            .filter_map(|index| self.due_at(index, round_trip))
            .min()
    }

    /// Chunks that may travel now. Once all are acknowledged the other side has
    /// them all, and it repeats its `Done` until that is heard.
    fn in_window(&self) -> impl Iterator<Item = usize> + '_ {
        let end = (self.base + WINDOW).min(self.chunks.len());
        let waiting =
            (self.base..end).filter(|&i| self.chunks[i].state != ChunkState::Acknowledged);
        waiting.take_while(|_| self.acknowledged.is_none())
    }

    /// `None`: at once.
    fn due_at(&self, index: usize, round_trip: &RoundTrip) -> Option<Instant> {
        match self.chunks[index] {
            Chunk {
                state: ChunkState::Sent(at),
                sends,
            } => Some(at + round_trip.timeout(sends)),
            _ => None,
        }
    }

    fn send(&mut self, index: usize, now: Instant) -> Message {
        let chunk = &mut self.chunks[index];
        chunk.state = ChunkState::Sent(now);
        chunk.sends += 1;
        let range = self.range(index);
        Message::Data {
            total: self.payload.len() as u64,
            chunk: u32::try_from(self.chunk).unwrap_or(u32::MAX),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            bytes: self.payload[range].to_vec(),
        }
    }

    fn range(&self, index: usize) -> std::ops::Range<usize> {
        let start = index * self.chunk;
        start..(start + self.chunk).min(self.payload.len())
    }

    fn sent_bytes(&self) -> u64 {
        let sent = (0..self.chunks.len()).filter(|&index| self.chunks[index].sends > 0);
        sent.map(|index| self.range(index).len() as u64).sum()
    }
}

impl Incoming {
    /// The first chunk says how long the payload is; later ones must agree.
    fn take(&mut self, total: u64, chunk: u32, index: u32, bytes: Vec<u8>) {
        if total > MOST_BYTES || chunk == 0 {
            return;
        }
        let count = total.div_ceil(u64::from(chunk)).max(1);
        let Ok(count) = usize::try_from(count) else {
            return;
        };
        if self.chunks.is_empty() {
            self.total = total;
            self.chunks = vec![None; count];
        }
        let start = u64::from(index) * u64::from(chunk);
        let expected = total.saturating_sub(start).min(u64::from(chunk));
        let fits =
            self.total == total && self.chunks.len() == count && bytes.len() as u64 == expected;
        let Some(slot) = self.chunks.get_mut(index as usize).filter(|_| fits) else {
            return;
        };
        slot.get_or_insert(bytes);
        while self.chunks.get(self.base).is_some_and(Option::is_some) {
            self.base += 1;
        }
        if self.base == self.chunks.len() && self.complete.is_none() {
            let whole = self.chunks.iter().flatten();
            let digest = whole.fold(Sha256::new(), |hash, chunk| hash.chain_update(chunk));
            self.complete = Some(digest.finalize().into());
        }
    }

    fn ack(&self) -> Message {
        let ahead = |bit: usize| {
            self.chunks
                .get(self.base + 1 + bit)
                .is_some_and(Option::is_some)
        };
        Message::Ack {
            base: u32::try_from(self.base).unwrap_or(u32::MAX),
            beyond: (0..64)
                .filter(|&bit| ahead(bit))
                .fold(0, |bits, bit| bits | 1 << bit),
        }
    }

    fn done_due(&mut self, now: Instant, round_trip: &RoundTrip) -> Option<Message> {
        let sha256 = self.complete.filter(|_| !self.heard)?;
        if self.next_done(round_trip).is_some_and(|at| at > now) {
            return None;
        }
        let times = self.done_sent.map_or(0, |(_, times)| times);
        self.done_sent = Some((now, times + 1));
        Some(Message::Done { sha256 })
    }

    /// `None` where there is nothing to say, or all of it at once.
    fn next_done(&self, round_trip: &RoundTrip) -> Option<Instant> {
        self.complete.filter(|_| !self.heard)?;
        self.done_sent
            .map(|(at, times)| at + round_trip.timeout(times))
    }
}

impl RoundTrip {
    fn measured(&mut self, sample: Duration) {
        self.smoothed = Some(match self.smoothed {
            Some(smoothed) => (smoothed * 7 + sample) / 8,
            None => sample,
        });
    }

    /// How long to wait for an answer to what was sent `sends` times.
    fn timeout(&self, sends: u32) -> Duration {
        let base = self
            .smoothed
            .map_or(self.first, |s| s * 3 / 2)
            .max(self.least);
        // A lossy path and a full one look alike: be a little slower each time.
        let growth = 1 << sends.saturating_sub(1).min(4);
        (base * growth).min(LONGEST_TIMEOUT.max(base))
    }
}

#[cfg(test)]
mod tests;
