use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const DATAGRAMS: Settings = Settings {
    max_message: 1200,
    pace: Duration::from_micros(500),
    first_timeout: Duration::from_millis(500),
    least_timeout: Duration::from_millis(100),
};

/// A link of both directions on a clock of its own.
struct Link {
    now: Instant,
    sides: [Transfer; 2],
    /// When each side may send again.
    free_at: [Instant; 2],
    /// Arrival, destination, message.
    flying: Vec<(Instant, usize, Vec<u8>)>,
    one_way: Duration,
    loss: f64,
    random: StdRng,
}

impl Link {
    fn new(payloads: [Vec<u8>; 2], one_way_ms: u64, loss: f64, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            now,
            sides: payloads.map(|p| Transfer::new(p, DATAGRAMS)),
            free_at: [now; 2],
            flying: Vec::new(),
            one_way: Duration::from_millis(one_way_ms),
            loss,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Runs until both are settled; how long that took.
    fn run(&mut self, limit: Duration) -> Option<Duration> {
        let began = self.now;
        self.sides[0].start();
        while self.now - began < limit {
            if self.sides.iter().all(Transfer::is_settled) {
                return Some(self.now - began);
            }
            self.deliver();
            self.send();
            self.now += Duration::from_micros(250);
        }
        None
    }

    fn deliver(&mut self) {
        let now = self.now;
        for (_, to, message) in self.flying.extract_if(.., |(at, _, _)| *at <= now) {
            self.sides[to].receive(&message, now);
        }
    }

    fn send(&mut self) {
        for side in 0..2 {
            if self.free_at[side] > self.now {
                continue;
            }
            let Some(message) = self.sides[side].poll(self.now) else {
                continue;
            };
            self.free_at[side] = self.now + DATAGRAMS.pace;
            if self.random.random::<f64>() >= self.loss {
                let jitter = Duration::from_micros(self.random.random_range(0..3000));
                self.flying
                    .push((self.now + self.one_way + jitter, 1 - side, message));
            }
        }
    }
}

fn payload(seed: &str, bytes: usize) -> Vec<u8> {
    model::payload::bytes(seed, bytes)
}

#[test]
fn both_payloads_arrive_and_are_acknowledged() {
    let mut link = Link::new([payload("a", 262_144), payload("b", 262_144)], 1, 0.0, 1);
    assert!(link.run(Duration::from_secs(2)).is_some());
    for (side, seed) in [(0, "b"), (1, "a")] {
        let received = link.sides[side].received().unwrap();
        assert_eq!(received.sha256, model::payload::digest(seed, 262_144));
        assert_eq!(received.bytes, 262_144);
    }
    let sent = link.sides[0].sent().unwrap();
    assert_eq!(
        sent.acknowledged_sha256,
        Some(model::payload::digest("a", 262_144))
    );
}

#[test]
fn loss_and_a_long_way_cost_seconds_and_not_the_payload() {
    for seed in 0..20 {
        let payloads = [payload("a", 262_144), payload("b", 262_144)];
        let mut link = Link::new(payloads, 150, 0.05, seed);
        let took = link.run(Duration::from_secs(10));
        assert!(took.is_some(), "seed {seed} took more than 10 s");
    }
}

#[test]
fn a_third_lost_is_only_slower() {
    let mut link = Link::new([payload("a", 60_000), payload("b", 60_000)], 20, 0.33, 3);
    assert!(link.run(Duration::from_secs(30)).is_some());
}

#[test]
fn an_empty_payload_is_acknowledged_too() {
    let mut link = Link::new([vec![], payload("b", 5)], 1, 0.0, 1);
    assert!(link.run(Duration::from_secs(2)).is_some());
    let sent = link.sides[0].sent().unwrap();
    assert_eq!(
        sent.acknowledged_sha256,
        Some(model::payload::sha256_hex(b""))
    );
}

#[test]
fn nothing_is_sent_before_the_start() {
    let mut transfer = Transfer::new(payload("a", 5000), DATAGRAMS);
    assert_eq!(transfer.poll(Instant::now()), None);
    assert_eq!(transfer.wake_at(), None);
    assert_eq!(transfer.sent(), None);
}

#[test]
fn altered_bytes_show_in_the_digest() {
    let now = Instant::now();
    let (mut from, mut to) = (
        Transfer::new(payload("a", 100), DATAGRAMS),
        Transfer::new(payload("b", 100), DATAGRAMS),
    );
    from.start();
    let mut message = from.poll(now).unwrap();
    *message.last_mut().unwrap() ^= 1;
    to.receive(&message, now);
    let received = to.received().unwrap();
    assert_eq!(received.bytes, 100);
    assert_ne!(received.sha256, model::payload::digest("a", 100));
}

#[test]
fn chunks_that_do_not_fit_the_first_are_ignored() {
    let now = Instant::now();
    let mut transfer = Transfer::new(vec![], DATAGRAMS);
    let data = |total, index, length| {
        Message::Data {
            total,
            chunk: 10,
            index,
            bytes: vec![0; length],
        }
        .encode()
    };
    transfer.receive(&data(25, 0, 10), now);
    transfer.receive(&data(26, 1, 10), now); // another length
    transfer.receive(&data(25, 9, 10), now); // beyond the end
    transfer.receive(&data(25, 2, 10), now); // too long for the last
    assert_eq!(transfer.received().unwrap().bytes, 10);
    transfer.receive(&data(u64::MAX, 0, 10), now); // no memory is taken for this
    assert_eq!(transfer.received().unwrap().bytes, 10);
}
