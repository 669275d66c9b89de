//! The steps of the suite `throughput` (see [`model::load`]), over any streams that
//! read and write.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::load::{Arrived, Receive, Send, Stream, block};
use model::protocol::{Failure, Perform, Performed, Reason};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::task::AbortOnDropHandle;

use crate::millis_since;

/// A receiver's word that a stream has ended there.
const GOT_ALL: u8 = 1;

/// What is to be done.
#[derive(Debug)]
pub enum Step {
    Receive(Receive),
    Send(Send),
    Received,
}

impl Step {
    /// # Errors
    /// [`Reason::Unsupported`] for another step, [`Reason::BadRequest`] for parameters
    /// that cannot be read.
    pub fn read(call: &Perform) -> Result<Self, Failure> {
        match call.step.as_str() {
            model::load::RECEIVE => params(call).map(Self::Receive),
            model::load::SEND => params(call).map(Self::Send),
            model::load::RECEIVED => Ok(Self::Received),
            other => Err(Failure::new(
                Reason::Unsupported,
                format!("no step `{other}` on an attempt"),
            )),
        }
    }
}

fn params<T: DeserializeOwned>(call: &Perform) -> Result<T, Failure> {
    serde_json::from_value(call.params.clone()).map_err(|error| {
        let detail = format!("the parameters of `{}`: {error}", call.step);
        Failure::new(Reason::BadRequest, detail)
    })
}

/// An answer without measures.
pub fn said(what: &impl Serialize) -> Performed {
    Performed {
        said: serde_json::to_value(what).unwrap_or_default(),
        ..Performed::default()
    }
}

/// Processor time of this process so far: its own instructions and the kernel's for it.
pub fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    let of = |time: nix::sys::time::TimeVal| {
        use nix::sys::time::TimeValLike;
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// Milliseconds of [`cpu_time`] since then.
pub fn cpu_ms_since(before: Duration) -> f64 {
    cpu_time().saturating_sub(before).as_secs_f64() * 1e3
}

/// Writes a seed's bytes for so long, one block at least, and waits until the receiver has them all.
///
/// # Errors
/// The stream's own.
pub async fn send(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    seed: &str,
    seconds: u64,
) -> std::io::Result<()> {
    let block = block(seed);
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        writer.write_all(&block).await?;
        if Instant::now() >= until {
            break;
        }
    }
    writer.shutdown().await?;
    match reader.read_u8().await? {
        GOT_ALL => Ok(()),
        other => Err(std::io::Error::other(format!(
            "the receiver answered {other} at the end"
        ))),
    }
}

/// What came on one stream, and when.
pub struct Came {
    stream: Stream,
    first: Instant,
    last: Instant,
}

/// Reads a stream to its end, and says so to the sender.
///
/// # Errors
/// The stream's own.
pub async fn receive(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> std::io::Result<Came> {
    let mut buffer = vec![0; 256 * 1024];
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let (mut first, mut last) = (None, Instant::now());
    loop {
        let came = reader.read(&mut buffer).await?;
        if came == 0 {
            break;
        }
        last = Instant::now();
        first.get_or_insert(last);
        hash.update(&buffer[..came]);
        bytes += came as u64;
    }
    writer.write_u8(GOT_ALL).await?;
    writer.shutdown().await?;
    Ok(Came {
        stream: Stream {
            bytes,
            sha256: Some(hex::encode(hash.finalize())),
        },
        first: first.unwrap_or(last),
        last,
    })
}

impl Came {
    /// Datagrams, of which some may have been lost.
    pub fn datagrams(bytes: u64, first: Instant, last: Instant) -> Self {
        let stream = Stream {
            bytes,
            sha256: None,
        };
        Self {
            stream,
            first,
            last,
        }
    }
}

/// A transfer that comes in, until it is asked for.
pub struct Inflow {
    cpu: Duration,
    coming: AbortOnDropHandle<Result<Vec<Came>, String>>,
}

impl Inflow {
    /// `coming` ends when all streams have; its error is in the stack's own words.
    pub fn begin(
        coming: impl Future<Output = Result<Vec<Came>, String>> + std::marker::Send + 'static,
    ) -> Self {
        Self {
            cpu: cpu_time(),
            coming: AbortOnDropHandle::new(tokio::spawn(coming)),
        }
    }

    /// # Errors
    /// [`Reason::Timeout`] where it has not ended by then, [`Reason::Closed`] where a
    /// stream broke.
    pub async fn end(self, limit: Duration) -> Result<Arrived, Failure> {
        let began = Instant::now();
        let came = tokio::time::timeout(limit, self.coming)
            .await
            .map_err(|_| {
                let waited = millis_since(began);
                let detail = format!("streams that began had not ended after {waited:.0} ms");
                Failure::new(Reason::Timeout, detail)
            })?
            .map_err(|error| error.to_string())
            .and_then(|came| came)
            .map_err(|error| Failure::new(Reason::Closed, error))?;
        let first = came.iter().map(|c| c.first).min();
        let last = came.iter().map(|c| c.last).max();
        let elapsed = first.zip(last).map_or(Duration::ZERO, |(f, l)| l - f);
        Ok(Arrived {
            elapsed_ms: elapsed.as_secs_f64() * 1e3,
            cpu_ms: cpu_ms_since(self.cpu),
            streams: came.into_iter().map(|c| c.stream).collect(),
        })
    }
}

/// The transfer that is coming in on an attempt, if any.
#[derive(Default)]
pub struct Incoming(Mutex<Option<Inflow>>);

impl Incoming {
    pub fn put(&self, inflow: Inflow) {
        *self.slot() = Some(inflow);
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// As [`Inflow::end`], and [`Reason::BadRequest`] where none was awaited.
    pub async fn end(&self, limit: Duration) -> Result<Arrived, Failure> {
        let inflow = self.slot().take();
        let inflow = inflow.ok_or_else(|| {
            Failure::new(Reason::BadRequest, "`received` without `receive` before it")
        })?;
        inflow.end(limit).await
    }

    fn slot(&self) -> MutexGuard<'_, Option<Inflow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_sent_is_what_arrived() {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(theirs);
        let inflow = Inflow::begin(async {
            let came = receive(reader, writer).await;
            came.map(|came| vec![came]).map_err(|e| e.to_string())
        });
        let (reader, writer) = tokio::io::split(ours);
        send(reader, writer, "seed", 1).await.unwrap();
        let arrived = inflow.end(Duration::from_secs(5)).await.unwrap();
        assert!(arrived.bytes() > 1 << 20);
        assert!(arrived.is_what_was_sent(&["seed".to_owned()]));
        assert!((500.0..2000.0).contains(&arrived.elapsed_ms));
        assert!(arrived.cpu_ms > 0.0);
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_said_to() {
        let inflow = Inflow::begin(async { Err("reset by peer".to_owned()) });
        let failure = inflow.end(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(failure.reason, Reason::Closed);
        assert_eq!(failure.detail, "reset by peer");
    }
}
