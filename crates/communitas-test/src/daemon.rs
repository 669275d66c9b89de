//! The headless daemon: the same program behind HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use model::protocol::{Failure, Reason};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::program;

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(10);

pub struct Daemon {
    child: Child,
    at: SocketAddr,
    asked: u64,
}

impl Daemon {
    /// Running, and whether and after how many milliseconds it said that it is well.
    pub async fn start(
        at: SocketAddr,
        storage: &Path,
        identity: Option<&str>,
    ) -> Result<(Self, Result<f64, String>), Failure> {
        let listen = at.to_string();
        let mut words = vec!["--http", "--listen", &listen];
        if let Some(identity) = identity {
            words.extend(["--four-words", identity]);
        }
        let began = Instant::now();
        let mut command = program::command(storage, &words)?;
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null());
        let child = command.spawn().map_err(|e| {
            Failure::new(
                Reason::Infrastructure,
                format!("cannot start {}: {e}", program::NAME),
            )
        })?;
        let mut daemon = Self {
            child,
            at,
            asked: 0,
        };
        let is_well = daemon.wait_until_well(began).await;
        Ok((daemon, is_well))
    }

    async fn wait_until_well(&mut self, began: Instant) -> Result<f64, String> {
        while began.elapsed() < START {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended while it started: {status}"));
            }
            if self.health().await.is_ok_and(|said| said == "OK") {
                return Ok(agent::millis_since(began));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Err(format!("GET /health is not OK within {START:?}"))
    }

    async fn health(&self) -> Result<String, String> {
        let url = format!("http://{}/health", self.at);
        http(move |agent| agent.get(&url).call()?.body_mut().read_to_string()).await
    }

    pub async fn initialize(&mut self) -> Result<(), String> {
        self.ask("initialize", program::introduction())
            .await
            .map(drop)
    }

    /// What a tool says, as JSON where it is JSON.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, String> {
        let params = json!({ "name": tool, "arguments": arguments });
        let result = self.ask("tools/call", params).await?;
        let said = result["content"][0]["text"].as_str().unwrap_or_default();
        if result["isError"] == true {
            return Err(format!("{tool}: {said}"));
        }
        Ok(serde_json::from_str(said).unwrap_or_else(|_| Value::String(said.into())))
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.asked += 1;
        let request =
            json!({ "jsonrpc": "2.0", "id": self.asked, "method": method, "params": params });
        let url = format!("http://{}/mcp", self.at);
        let answer: Value =
            http(move |agent| agent.post(&url).send_json(&request)?.body_mut().read_json()).await?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(format!("{method}: {answer}")),
        }
    }

    /// In good order, as systemd asks for it.
    pub async fn stop(mut self) -> Result<(), String> {
        self.signal(Signal::SIGTERM)?;
        match tokio::time::timeout(STOP, self.child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("SIGTERM did not end it within {STOP:?}")),
        }
    }

    pub async fn crash(mut self) -> Result<(), String> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().await.map(drop).map_err(|e| e.to_string())
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or("it ended by itself")?;
        kill(Pid::from_raw(pid), signal).map_err(|e| format!("{signal}: {e}"))
    }
}

async fn http<T: Send + 'static>(
    call: impl FnOnce(&ureq::Agent) -> Result<T, ureq::Error> + Send + 'static,
) -> Result<T, String> {
    let asked = tokio::task::spawn_blocking(move || {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST))
            .build();
        call(&config.into())
    });
    match asked.await {
        Ok(answer) => answer.map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
