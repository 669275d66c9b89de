//! Talking to a tester: requests with ids over its (forwarded) Unix socket.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::inventory::NodeName;
use model::measure::Trial;
use model::protocol::{Call, Failure, Hello, Outcome, Reason, Request, Response, VERSION};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::oneshot;

/// How long after its own deadline a tester may still answer.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot reach the tester on {node} at `{path}`")]
    Connect {
        node: NodeName,
        path: String,
        source: std::io::Error,
    },
    /// The tester answered: no.
    #[error("{method} on {node}: {failure}")]
    Failed {
        node: NodeName,
        method: &'static str,
        failure: Failure,
    },
    #[error("the tester on {node} did not answer `{method}` within {after:?}")]
    Silent {
        node: NodeName,
        method: &'static str,
        after: Duration,
    },
    #[error("the tester on {node} closed its socket during `{method}`")]
    Gone {
        node: NodeName,
        method: &'static str,
    },
    #[error("the tester on {node} answered `{method}` with something else: {detail}")]
    Malformed {
        node: NodeName,
        method: &'static str,
        detail: String,
    },
    #[error("the tester on {node} speaks protocol {theirs}, this program {VERSION}")]
    Version { node: NodeName, theirs: u32 },
}

type Pending = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Outcome>>>>>;

/// One connection; any number of calls at once.
pub struct Agent {
    pub node: NodeName,
    pub hello: Hello,
    link: Link,
}

struct Link {
    node: NodeName,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    /// `None` once the connection has ended.
    pending: Pending,
    next_id: AtomicU64,
    reader: tokio::task::JoinHandle<()>,
}

impl Agent {
    /// Connects and says hello.
    pub async fn connect(node: &NodeName, socket: &Path) -> Result<Self, AgentError> {
        let link = Link::open(node, socket).await?;
        let hello: Hello = link.call(Call::Hello, Duration::from_secs(10)).await?;
        if hello.protocol != VERSION {
            return Err(AgentError::Version {
                node: node.clone(),
                theirs: hello.protocol,
            });
        }
        Ok(Self {
            node: node.clone(),
            hello,
            link,
        })
    }

    /// The tester closed the connection, or ended.
    pub fn has_ended(&self) -> bool {
        lock(&self.link.pending).is_none()
    }

    /// `own_deadline` is the time that the call itself allows; a little more is granted.
    pub async fn call<T: DeserializeOwned>(
        &self,
        call: Call,
        own_deadline: Duration,
    ) -> Result<T, AgentError> {
        self.link.call(call, own_deadline + GRACE).await
    }
}

impl AgentError {
    /// The tester had nowhere to dial. A stack that makes relays only where nothing
    /// else works is not wrong.
    pub fn is_no_address(&self) -> bool {
        self.reason() == Some(Reason::NoAddress)
    }

    /// What it counts for, where success was asked for.
    pub fn as_trial(&self) -> Trial {
        match self.reason() {
            Some(reason) if reason.is_infrastructure() => Trial::Infrastructure,
            _ => Trial::Failure,
        }
    }

    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Failed { failure, .. } => Some(failure.reason),
            _ => None,
        }
    }
}

impl Link {
    async fn open(node: &NodeName, socket: &Path) -> Result<Self, AgentError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|source| AgentError::Connect {
                node: node.clone(),
                path: socket.display().to_string(),
                source,
            })?;
        let (read, write) = stream.into_split();
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        let reader = tokio::spawn(deliver(BufReader::new(read), Arc::clone(&pending)));
        Ok(Self {
            node: node.clone(),
            writer: tokio::sync::Mutex::new(write),
            pending,
            next_id: AtomicU64::new(1),
            reader,
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        call: Call,
        deadline: Duration,
    ) -> Result<T, AgentError> {
        let method = call.method();
        let gone = || AgentError::Gone {
            node: self.node.clone(),
            method,
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.pending)
            .as_mut()
            .ok_or_else(gone)?
            .insert(id, answer);

        self.send(&Request { id, call }).await.map_err(|_| gone())?;
        let outcome = match tokio::time::timeout(deadline, answered).await {
            Ok(outcome) => outcome.map_err(|_| gone())?,
            Err(_) => {
                if let Some(pending) = lock(&self.pending).as_mut() {
                    pending.remove(&id);
                }
                return Err(AgentError::Silent {
                    node: self.node.clone(),
                    method,
                    after: deadline,
                });
            }
        };
        match outcome {
            Outcome::Error(failure) => Err(AgentError::Failed {
                node: self.node.clone(),
                method,
                failure,
            }),
            Outcome::Result(value) => {
                serde_json::from_value(value).map_err(|e| AgentError::Malformed {
                    node: self.node.clone(),
                    method,
                    detail: e.to_string(),
                })
            }
        }
    }

    async fn send(&self, request: &Request) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.writer.lock().await.write_all(&line).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Hands every response to the call that waits for it; at the end, drops them all.
async fn deliver(mut lines: BufReader<tokio::net::unix::OwnedReadHalf>, pending: Pending) {
    let mut line = String::new();
    while let Ok(1..) = lines.read_line(&mut line).await {
        // A line that is no response is an event, or noise; both are for logs, not for us.
        if let Ok(response) = serde_json::from_str::<Response>(&line)
            && let Some(waiting) = lock(&pending).as_mut().and_then(|p| p.remove(&response.id))
        {
            let _ = waiting.send(response.outcome);
        }
        line.clear();
    }
    lock(&pending).take();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
