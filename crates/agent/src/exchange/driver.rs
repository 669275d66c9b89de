//! Runs a [`Transfer`] over a real transport.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::protocol::{Exchanged, Failure, Payload, Reason, Received, Sent};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::transfer::{Settings, Transfer};
use crate::millis_since;

/// Carries messages to the peer of an attempt. It may lose them.
pub trait Transport: Send + Sync + 'static {
    /// # Errors
    /// The stack's own words. The message is sent again later all the same.
    fn send(&self, message: Vec<u8>) -> impl Future<Output = Result<(), String>> + Send;
}

/// The exchange of one attempt, running in a task until it is dropped.
pub struct Exchanger {
    shared: Arc<Shared>,
    pump: AbortHandle,
}

struct Shared {
    transfer: Mutex<Transfer>,
    /// Something came in, or the exchange may begin.
    wake: Notify,
    progress: watch::Sender<Progress>,
    last_error: Mutex<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    done: bool,
    settled: bool,
}

impl Exchanger {
    /// Ready to answer; sends nothing of its own before the peer does, or [`run`](Self::run).
    ///
    /// # Errors
    /// [`Reason::BadRequest`] for a payload that does not fit into memory.
    pub fn new(
        payload: &Payload,
        settings: Settings,
        transport: impl Transport,
    ) -> Result<Self, Failure> {
        let length = usize::try_from(payload.bytes)
            .ok()
            .filter(|_| payload.bytes <= super::wire::MOST_BYTES)
            .ok_or_else(|| {
                Failure::new(
                    Reason::BadRequest,
                    format!("a payload of {} bytes is too large", payload.bytes),
                )
            })?;
        let bytes = model::payload::bytes(&payload.seed, length);
        let shared = Arc::new(Shared {
            transfer: Mutex::new(Transfer::new(bytes, settings)),
            wake: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            last_error: Mutex::new(None),
        });
        let pump = tokio::spawn(pump(Arc::clone(&shared), transport)).abort_handle();
        Ok(Self { shared, pump })
    }

    /// A message came from the peer.
    pub fn deliver(&self, message: &[u8]) {
        self.shared.transfer().receive(message, Instant::now());
        self.shared.report_progress();
        self.shared.wake.notify_one();
    }

    /// Sends ours and receives theirs; both are acknowledged when this returns.
    ///
    /// # Errors
    /// [`Reason::Timeout`] with how far it came and the transport's last error.
    pub async fn run(&self, limit: Duration) -> Result<Exchanged, Failure> {
        let (started, deadline) = (Instant::now(), tokio::time::Instant::now() + limit);
        let mut progress = self.shared.progress.subscribe();
        self.shared.transfer().start();
        self.shared.wake.notify_one();

        let done = tokio::time::timeout_at(deadline, progress.wait_for(|p| p.done))
            .await
            .is_ok_and(|waited| waited.is_ok());
        if !done {
            return Err(self.timed_out(limit));
        }
        let elapsed_ms = millis_since(started);
        // The other side is about to report too: let it hear that we have it all.
        // Its own success does not depend on this, so a late word is no failure.
        let _ = tokio::time::timeout_at(deadline, progress.wait_for(|p| p.settled)).await;
        let (sent, received) = (self.sent(), self.received());
        match (sent, received) {
            (Some(sent), Some(received)) => Ok(Exchanged {
                sent,
                received,
                elapsed_ms,
            }),
            _ => Err(self.timed_out(limit)),
        }
    }

    /// What went out so far; `None` where nothing did.
    pub fn sent(&self) -> Option<Sent> {
        self.shared.transfer().sent()
    }

    /// What came in so far; `None` where nothing did.
    pub fn received(&self) -> Option<Received> {
        self.shared.transfer().received()
    }

    /// Sends nothing more; what came and went so far can still be asked for.
    pub fn stop(&self) {
        self.pump.abort();
    }

    fn timed_out(&self, limit: Duration) -> Failure {
        let sent = self.sent();
        let acknowledged = sent
            .as_ref()
            .is_some_and(|s| s.acknowledged_sha256.is_some());
        let mut detail = format!(
            "after {limit:?} {} bytes were sent and {}, {} bytes came",
            sent.map_or(0, |s| s.bytes),
            if acknowledged {
                "acknowledged"
            } else {
                "not acknowledged"
            },
            self.received().map_or(0, |r| r.bytes),
        );
        if let Some(error) = self.shared.last_error().take() {
            detail.push_str("; the stack said: ");
            detail.push_str(&error);
        }
        Failure::new(Reason::Timeout, detail)
    }
}

impl Drop for Exchanger {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Sends what is due until it is aborted.
async fn pump(shared: Arc<Shared>, transport: impl Transport) {
    let pace = shared.transfer().settings().pace;
    loop {
        let message = shared.transfer().poll(Instant::now());
        if let Some(message) = message {
            if let Err(error) = transport.send(message).await {
                *shared.last_error() = Some(error);
            }
            if !pace.is_zero() {
                tokio::time::sleep(pace).await;
            }
            continue;
        }
        let wake_at = shared.transfer().wake_at();
        match wake_at {
            Some(at) => {
                let _ = tokio::time::timeout_at(at.into(), shared.wake.notified()).await;
            }
            None => shared.wake.notified().await,
        }
    }
}

impl Shared {
    fn transfer(&self) -> MutexGuard<'_, Transfer> {
        self.transfer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_error(&self) -> MutexGuard<'_, Option<String>> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn report_progress(&self) {
        let now = {
            let transfer = self.transfer();
            Progress {
                done: transfer.is_done(),
                settled: transfer.is_settled(),
            }
        };
        self.progress
            .send_if_modified(|before| std::mem::replace(before, now) != now);
    }
}
