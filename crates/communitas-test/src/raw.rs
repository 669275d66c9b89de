//! Lines in and out of a program: for what no client would send.

use std::time::Duration;

use model::protocol::{Failure, Reason};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::program;

/// A line that is not there by then is not coming.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Server {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    asked: u64,
    _storage: tempfile::TempDir,
}

impl Server {
    /// Running; not initialized.
    pub fn start() -> Result<Self, Failure> {
        let failed = |what: String| {
            Failure::new(
                Reason::Infrastructure,
                format!("cannot start {}: {what}", program::NAME),
            )
        };
        let storage = program::storage()?;
        let mut child = program::command(storage.path(), &[])?
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else {
            return Err(failed("it has no pipes".into()));
        };
        Ok(Self {
            child,
            to,
            from: BufReader::new(from),
            asked: 0,
            _storage: storage,
        })
    }

    pub async fn initialize(&mut self) -> Result<(), String> {
        self.ask("initialize", program::introduction())
            .await
            .map(drop)
    }

    /// A proper request and the line that follows it.
    pub async fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.asked += 1;
        let request =
            json!({ "jsonrpc": "2.0", "id": self.asked, "method": method, "params": params });
        self.send(request.to_string().as_bytes()).await?;
        self.answer().await
    }

    pub async fn send(&mut self, line: &[u8]) -> Result<(), String> {
        let written = async {
            self.to.write_all(line).await?;
            self.to.write_all(b"\n").await?;
            self.to.flush().await
        };
        match tokio::time::timeout(PATIENCE * 4, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("cannot write to it: {error}")),
            Err(_) => Err("it does not read what it is sent".into()),
        }
    }

    pub async fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        match tokio::time::timeout(PATIENCE, self.from.read_line(&mut line)).await {
            Ok(Ok(0)) => Err("it ended".into()),
            Ok(Ok(_)) => {
                serde_json::from_str(&line).map_err(|e| format!("answered what is no JSON: {e}"))
            }
            Ok(Err(error)) => Err(format!("cannot read from it: {error}")),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }

    /// Whether it still answers the simplest of all requests, now or after answers
    /// that are late.
    pub async fn lives(&mut self) -> Result<(), String> {
        let mut answer = self.ask("ping", json!({})).await?;
        while answer["id"] != self.asked {
            answer = self.answer().await?;
        }
        match answer.get("result") {
            Some(_) => Ok(()),
            None => Err(format!("ping: {answer}")),
        }
    }

    pub async fn end(mut self) {
        let _ = self.child.kill().await;
    }
}
