//! What a heartbeat carries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counters since the process began.
pub(crate) struct Metrics {
    started: Instant,
    pub requests: AtomicU64,
    pub panics: AtomicU64,
    pub attempts: AtomicU64,
    pub dials: AtomicU64,
    pub dial_failures: AtomicU64,
    pub exchanges: AtomicU64,
    pub exchange_failures: AtomicU64,
    pub payload_bytes_sent: AtomicU64,
    pub payload_bytes_received: AtomicU64,
}

impl Metrics {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            requests: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            dials: AtomicU64::new(0),
            dial_failures: AtomicU64::new(0),
            exchanges: AtomicU64::new(0),
            exchange_failures: AtomicU64::new(0),
            payload_bytes_sent: AtomicU64::new(0),
            payload_bytes_received: AtomicU64::new(0),
        }
    }

    /// Current values by Prometheus name.
    pub fn read(&self, attempts_open: usize) -> BTreeMap<String, f64> {
        let counters = [
            ("requests_total", &self.requests),
            ("request_panics_total", &self.panics),
            ("attempts_total", &self.attempts),
            ("dials_total", &self.dials),
            ("dial_failures_total", &self.dial_failures),
            ("exchanges_total", &self.exchanges),
            ("exchange_failures_total", &self.exchange_failures),
            ("payload_bytes_sent_total", &self.payload_bytes_sent),
            ("payload_bytes_received_total", &self.payload_bytes_received),
        ];
        let mut values: BTreeMap<String, f64> = counters
            .into_iter()
            .map(|(name, counter)| (name.to_owned(), counter.load(Ordering::Relaxed) as f64))
            .collect();
        values.insert("attempts_open".into(), attempts_open as f64);
        values.insert(
            "uptime_seconds".into(),
            self.started.elapsed().as_secs_f64(),
        );
        // Where the system does not say, the value is missing and not zero.
        if let Some(bytes) = resident_memory_bytes() {
            values.insert("resident_memory_bytes".into(), bytes as f64);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            values.insert("open_fds".into(), open.count() as f64);
        }
        values
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn resident_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
