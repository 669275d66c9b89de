//! The registry under load, on one core: 2,000 peers that beat every ten seconds,
//! and fifty dashboards that follow its events and load their page again.
//!
//! Plain HTTP on loopback; every client has an address of its own, as on a fleet,
//! and the limits are those that a fleet gets.

mod http;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, WrapErr};

use self::http::Connection;
use super::figure;

const PEERS: usize = 2000;
const NODES: usize = 20;
const BEAT: Duration = Duration::from_secs(10);
const DASHBOARDS: usize = 50;
const RAMP: Duration = Duration::from_secs(12);
const MEASURED: Duration = Duration::from_secs(30);

/// A page settles for so long after an event, as its script does.
const SETTLE: Duration = Duration::from_millis(1000);

pub fn run() -> miette::Result<()> {
    let dir = tempfile::tempdir().into_diagnostic()?;
    let registry = Registry::start(dir.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .into_diagnostic()?;
    let before = registry.memory_bytes()?;
    let load = Arc::new(Load {
        address: registry.address,
        peers: registry.peer_tokens()?,
        viewer: registry.viewer_token()?,
        times: Mutex::default(),
        failures: Mutex::default(),
    });
    let measured = Arc::clone(&load);
    runtime.block_on(async move {
        for peer in 0..PEERS {
            tokio::spawn(Arc::clone(&measured).peer(peer));
        }
        for reader in 0..DASHBOARDS {
            tokio::spawn(Arc::clone(&measured).dashboard(reader));
        }
        tokio::time::sleep(RAMP).await;
        measured.take();
        tokio::time::sleep(MEASURED).await;
    });
    let mut times = load.take();
    let after = registry.memory_bytes()?;
    drop(runtime);
    let failures = load
        .failures
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    if let Some(first) = failures.first() {
        miette::bail!("{} requests failed, the first: {first}", failures.len());
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
    eprintln!(
        "registry: {} requests in {} s, p50 {:.2} ms, p99 {:.2} ms, worst {:.1} ms, {:.1} MB, {:.1} kB a peer",
        times.len(),
        MEASURED.as_secs(),
        at(0.5).unwrap_or(f64::NAN),
        at(0.99).unwrap_or(f64::NAN),
        times.last().copied().unwrap_or(f64::NAN),
        after as f64 / 1e6,
        after.saturating_sub(before) as f64 / 1e3 / PEERS as f64,
    );
    let wanted = PEERS as f64 / BEAT.as_secs_f64();
    figure(
        "heartbeats answered, of those due",
        100.0 * load_share(times.len(), wanted),
    );
    figure("registry under load, p99", at(0.99).unwrap_or(f64::NAN));
    figure(
        "memory of the registry for each peer",
        after.saturating_sub(before) as f64 / 1e3 / PEERS as f64,
    );
    Ok(())
}

/// All requests count, so that this may pass 1; under it beats came late.
fn load_share(requests: usize, wanted: f64) -> f64 {
    requests as f64 / (wanted * MEASURED.as_secs_f64())
}

struct Load {
    address: SocketAddr,
    peers: Vec<String>,
    viewer: String,
    /// Milliseconds of every answer.
    times: Mutex<Vec<f64>>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, began: Instant, answer: std::io::Result<u16>) {
        let failed = match answer {
            Ok(200) => {
                let ms = began.elapsed().as_secs_f64() * 1000.0;
                self.times
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(ms);
                return;
            }
            Ok(status) => format!("status {status}"),
            Err(error) => error.to_string(),
        };
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(failed);
    }

    async fn peer(self: Arc<Self>, number: usize) {
        // Spread over one interval, as peers that were deployed one by one are.
        tokio::time::sleep(BEAT.mul_f64(number as f64 / PEERS as f64)).await;
        let from = client(1, number);
        let (node, token) = (number % NODES, &self.peers[number % NODES]);
        let mut connection = Connection::new(from, self.address, token);
        let registration = serde_json::json!({
            "project": "bench", "node": format!("node-{node}"), "tester": "bench-test",
            "stack_version": "1", "digest": "00".repeat(32), "pid": number, "local": null,
        });
        let began = Instant::now();
        let answer = connection
            .send("POST", "/api/register", &registration.to_string())
            .await;
        self.record(began, answer);
        let peer = format!("bench/node-{node}/bench-test/{number}");
        let mut beats = 0u64;
        let mut tick = tokio::time::interval(BEAT);
        loop {
            tick.tick().await;
            beats += 1;
            let heartbeat = serde_json::json!({
                "peer": peer,
                "metrics": {
                    "requests_total": beats * 9, "request_panics_total": 0, "attempts_total": beats,
                    "dials_total": beats, "dial_failures_total": 0, "exchanges_total": beats,
                    "exchange_failures_total": 0, "payload_bytes_sent_total": beats * 262_144,
                    "payload_bytes_received_total": beats * 262_144, "attempts_open": 1,
                    "uptime_seconds": beats * 10, "resident_memory_bytes": 31_457_280, "open_fds": 24,
                },
            });
            let began = Instant::now();
            let answer = connection
                .send("POST", "/api/heartbeat", &heartbeat.to_string())
                .await;
            self.record(began, answer);
        }
    }

    async fn dashboard(self: Arc<Self>, number: usize) {
        let from = client(2, number);
        let mut page = Connection::new(from, self.address, &self.viewer);
        let mut stream = Connection::new(from, self.address, &self.viewer);
        if let Err(error) = stream.listen("/api/events").await {
            self.record(Instant::now(), Err(error));
            return;
        }
        loop {
            let began = Instant::now();
            let answer = page.send("GET", "/", "").await;
            self.record(began, answer);
            tokio::time::sleep(SETTLE).await;
            // The page also loads by itself now and then.
            let _ = tokio::time::timeout(Duration::from_secs(15), stream.event()).await;
        }
    }
}

/// An address of its own in 127.0.0.0/8.
fn client(kind: u8, number: usize) -> IpAddr {
    let [high, low] = [number / 250, number % 250].map(|n| u8::try_from(n).unwrap_or(0));
    Ipv4Addr::new(127, kind, high, low + 1).into()
}

/// The real program, pinned to one core.
struct Registry {
    running: Running,
    address: SocketAddr,
    program: std::path::PathBuf,
    tokens: String,
}

impl Registry {
    fn start(dir: &Path) -> miette::Result<Self> {
        use std::io::BufRead as _;
        let own = std::env::current_exe().into_diagnostic()?;
        let program = own.with_file_name("vps-test-registry");
        let tokens = dir.join("tokens.json").display().to_string();
        add_tokens(&program, &tokens, "viewer", &[])?;
        let child = Command::new("taskset")
            .args(["--cpu-list", "0"])
            .arg(&program)
            .args(["serve", "--listen", "127.0.0.1:0", "--tokens", &tokens])
            .arg("--data")
            .arg(dir.join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .into_diagnostic()
            .wrap_err("cannot start the registry on one core with `taskset`")?;
        let mut running = Running(child);
        let mut line = String::new();
        if let Some(stdout) = running.0.stdout.take() {
            std::io::BufReader::new(stdout)
                .read_line(&mut line)
                .into_diagnostic()?;
        }
        let address = line.trim().rsplit('/').next().unwrap_or_default();
        let address = address
            .parse()
            .map_err(|_| miette::miette!("the registry did not start: it said {line:?}"))?;
        Ok(Self {
            running,
            address,
            program,
            tokens,
        })
    }

    fn viewer_token(&self) -> miette::Result<String> {
        let made = add_tokens(&self.program, &self.tokens, "viewer", &[])?;
        Ok(made.trim().to_owned())
    }

    /// One a node.
    fn peer_tokens(&self) -> miette::Result<Vec<String>> {
        let nodes: Vec<String> = (0..NODES).map(|n| format!("node-{n}")).collect();
        let made = add_tokens(&self.program, &self.tokens, "peer", &nodes)?;
        Ok(made
            .lines()
            .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()))
            .collect())
    }

    fn memory_bytes(&self) -> miette::Result<u64> {
        let file = format!("/proc/{}/status", self.running.0.id());
        let status = std::fs::read_to_string(file).into_diagnostic()?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|word| word.parse::<u64>().ok());
        Ok(kib.unwrap_or(0) * 1024)
    }
}

/// Ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn add_tokens(
    program: &Path,
    tokens: &str,
    scope: &str,
    nodes: &[String],
) -> miette::Result<String> {
    let mut command = Command::new(program);
    command.args([
        "token", "add", "--tokens", tokens, "--fleet", "bench", "--scope", scope,
    ]);
    for node in nodes {
        command.args(["--node", node]);
    }
    let output = command
        .output()
        .into_diagnostic()
        .wrap_err_with(|| format!("cannot run `{}`", program.display()))?;
    if !output.status.success() {
        miette::bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
