//! The agent protocol on a Unix socket: many connections, many calls at once,
//! answers in any order.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::protocol::{
    AttemptId, Call, Empty, Failure, Hello, Outcome, Perform, Performed, Prepare, Prepared, Reason,
    Response,
};
use serde::Serialize;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::attempts::{Attempts, Held};
use crate::metrics::{Metrics, add, count};
use crate::tester::Tester;

mod request;

use request::{Incoming, read_line};

/// A tester ends its calls in time; this much later the server does.
const BACKSTOP: Duration = Duration::from_millis(500);
const EXPIRY_CHECK: Duration = Duration::from_secs(10);
/// How long attempts may take to close at the end of the process.
const GOODBYE: Duration = Duration::from_secs(3);

pub(crate) struct Server<T: Tester> {
    tester: T,
    hello: Hello,
    listener: UnixListener,
    socket: PathBuf,
    attempts: Attempts<T::Attempt>,
    metrics: Metrics,
}

impl<T: Tester> Server<T> {
    pub fn bind(tester: T, hello: Hello, socket: &Path) -> io::Result<Arc<Self>> {
        remove_old_socket(socket)?;
        let listener = UnixListener::bind(socket)?;
        // The unit's user and group may speak to it, nobody else.
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
        Ok(Arc::new(Self {
            tester,
            hello,
            listener,
            socket: socket.to_owned(),
            attempts: Attempts::new(),
            metrics: Metrics::new(),
        }))
    }

    /// Serves until `end`, then closes every attempt and removes the socket.
    pub async fn run_until(self: &Arc<Self>, end: impl Future<Output = ()>) {
        let expiry = tokio::spawn(Arc::clone(self).end_expired_attempts());
        tokio::select! {
            () = self.accept() => {}
            () = end => {}
        }
        expiry.abort();
        if let Err(error) = std::fs::remove_file(&self.socket) {
            debug!("cannot remove {}: {error}", self.socket.display());
        }
        let closing = async {
            for (_, attempt) in self.attempts.end_all() {
                self.close(attempt).await;
            }
        };
        if tokio::time::timeout(GOODBYE, closing).await.is_err() {
            warn!("attempts did not close within {GOODBYE:?}");
        }
    }

    pub fn metrics(&self) -> BTreeMap<String, f64> {
        self.metrics.read(self.attempts.open())
    }

    async fn accept(self: &Arc<Self>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(Arc::clone(self).converse(stream));
                }
                Err(error) => {
                    // Out of descriptors, mostly: they come back.
                    warn!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// One connection. Calls that are running when it drops go on to their end:
    /// an attempt belongs to the process and not to a connection.
    async fn converse(self: Arc<Self>, stream: UnixStream) {
        let (read, write) = stream.into_split();
        let (answers, queue) = mpsc::unbounded_channel();
        tokio::spawn(write_answers(write, queue));
        let mut reader = BufReader::new(read);
        while let Some(line) = read_line(&mut reader).await {
            tokio::spawn(Arc::clone(&self).answer(line, answers.clone()));
        }
    }

    async fn answer(self: Arc<Self>, line: Vec<u8>, answers: mpsc::UnboundedSender<Response>) {
        count(&self.metrics.requests);
        let incoming = Incoming::parse(&line);
        let outcome = match incoming.call {
            Ok(call) => self.perform_guarded(call).await,
            Err(failure) => Err(failure),
        };
        let outcome = match outcome {
            Ok(value) => Outcome::Result(value),
            Err(failure) => Outcome::Error(failure),
        };
        // Nobody is left to hear it where this fails.
        let _ = answers.send(Response {
            id: incoming.id,
            outcome,
        });
    }

    /// A call that panics is the stack's failure, and of this call only.
    async fn perform_guarded(self: Arc<Self>, call: Call) -> Result<serde_json::Value, Failure> {
        let method = call.method();
        let server = Arc::clone(&self);
        match tokio::spawn(async move { server.perform(call).await }).await {
            Ok(outcome) => outcome,
            Err(error) => {
                count(&self.metrics.panics);
                let words = panic_words(error);
                warn!("{method} panicked: {words}");
                Err(Failure::new(
                    Reason::Stack,
                    format!("{method} panicked: {words}"),
                ))
            }
        }
    }

    async fn perform(&self, call: Call) -> Result<serde_json::Value, Failure> {
        match call {
            Call::Hello => value(&self.hello),
            Call::Prepare(call) => value(&self.prepare(call).await?),
            Call::Expect(call) => {
                let (id, limit) = (call.attempt.clone(), call.timeout_ms);
                self.within(&id, limit, |held| async move {
                    self.tester.expect(&held, call).await
                })
                .await?;
                value(&Empty {})
            }
            Call::Dial(call) => value(&self.dial(call).await?),
            Call::Announce(call) => {
                let (id, limit) = (call.attempt.clone(), call.timeout_ms);
                value(
                    &self
                        .within(&id, limit, |held| async move {
                            self.tester.announce(&held, call).await
                        })
                        .await?,
                )
            }
            Call::Exchange(call) => value(&self.exchange(call).await?),
            Call::Finish(call) => match self.attempts.end(&call.attempt)? {
                Some(attempt) => value(&self.tester.finish(&attempt).await),
                None => Err(Failure::new(
                    Reason::BadRequest,
                    format!("attempt `{}` was never ready", call.attempt),
                )),
            },
            Call::Probe(call) => value(&self.tester.probe(call).await?),
            Call::Perform(call) => value(&self.step(call).await?),
        }
    }

    async fn prepare(&self, call: Prepare) -> Result<Prepared, Failure> {
        let id = call.attempt.clone();
        let ended = self.attempts.reserve(&id)?;
        count(&self.metrics.attempts);
        // Also where `prepare` panics: an id that was never filled is free again.
        let reservation = Reservation {
            attempts: &self.attempts,
            id: &id,
        };
        let limit = call.timeout_ms;
        let (attempt, prepared) = bounded(limit, &ended, self.tester.prepare(call)).await?;
        std::mem::forget(reservation);
        if let Err(attempt) = self.attempts.fill(&id, attempt) {
            self.close(Some(attempt)).await;
            return Err(was_finished());
        }
        Ok(prepared)
    }

    async fn dial(
        &self,
        call: model::protocol::Dial,
    ) -> Result<model::protocol::Connected, Failure> {
        count(&self.metrics.dials);
        let (id, limit) = (call.attempt.clone(), call.timeout_ms);
        let connected = self
            .within(&id, limit, |held| async move {
                self.tester.dial(&held, call).await
            })
            .await;
        if connected.is_err() {
            count(&self.metrics.dial_failures);
        }
        connected
    }

    async fn exchange(
        &self,
        call: model::protocol::Exchange,
    ) -> Result<model::protocol::Exchanged, Failure> {
        count(&self.metrics.exchanges);
        let (id, limit) = (call.attempt.clone(), call.timeout_ms);
        let exchanged = self
            .within(&id, limit, |held| async move {
                self.tester.exchange(&held, call).await
            })
            .await;
        match &exchanged {
            Ok(done) => {
                add(&self.metrics.payload_bytes_sent, done.sent.bytes);
                add(&self.metrics.payload_bytes_received, done.received.bytes);
            }
            Err(_) => count(&self.metrics.exchange_failures),
        }
        exchanged
    }

    /// A step on a prepared attempt ends with it; one of a suite's own session by its time.
    async fn step(&self, call: Perform) -> Result<Performed, Failure> {
        let limit = call.timeout_ms;
        if self.attempts.knows(&call.session) {
            let id = call.session.clone();
            return self
                .within(&id, limit, |held| async move {
                    self.tester.perform(Some(&held), call).await
                })
                .await;
        }
        let never = tokio_util::sync::CancellationToken::new();
        bounded(limit, &never, self.tester.perform(None, call)).await
    }

    /// Runs a call of a prepared attempt, which must end in time and with the attempt.
    async fn within<R, F: Future<Output = Result<R, Failure>>>(
        &self,
        id: &AttemptId,
        limit_ms: u64,
        call: impl FnOnce(Arc<T::Attempt>) -> F,
    ) -> Result<R, Failure> {
        let Held { attempt, ended } = self.attempts.hold(id)?;
        bounded(limit_ms, &ended, call(attempt)).await
    }

    async fn end_expired_attempts(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EXPIRY_CHECK).await;
            for (id, attempt) in self.attempts.end_expired(Instant::now()) {
                warn!("attempt {id} was never finished: given up");
                self.close(attempt).await;
            }
        }
    }

    async fn close(&self, attempt: Option<Arc<T::Attempt>>) {
        if let Some(attempt) = attempt {
            self.tester.finish(&attempt).await;
        }
    }
}

/// Frees an id when `prepare` did not come to its end.
struct Reservation<'a, A> {
    attempts: &'a Attempts<A>,
    id: &'a AttemptId,
}

impl<A> Drop for Reservation<'_, A> {
    fn drop(&mut self) {
        // An error means that `finish` was faster.
        let _ = self.attempts.end(self.id);
    }
}

async fn bounded<R>(
    limit_ms: u64,
    ended: &tokio_util::sync::CancellationToken,
    work: impl Future<Output = Result<R, Failure>>,
) -> Result<R, Failure> {
    let limit = Duration::from_millis(limit_ms).saturating_add(BACKSTOP);
    tokio::select! {
        () = ended.cancelled() => Err(was_finished()),
        outcome = tokio::time::timeout(limit, work) => outcome.unwrap_or_else(|_| {
            Err(Failure::new(Reason::Timeout, format!("not done within {limit_ms} ms")))
        }),
    }
}

fn was_finished() -> Failure {
    Failure::new(Reason::Closed, "the attempt was finished meanwhile")
}

fn value(result: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(result)
        .map_err(|error| Failure::new(Reason::Stack, format!("cannot write the answer: {error}")))
}

fn panic_words(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "cancelled".into();
    };
    panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}

async fn write_answers(mut write: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Response>) {
    while let Some(response) = queue.recv().await {
        let Ok(mut line) = serde_json::to_vec(&response) else {
            continue;
        };
        line.push(b'\n');
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Only a socket is removed; a file of that name is somebody's mistake.
fn remove_old_socket(socket: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(socket) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(socket),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it exists and is no socket",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
