//! Boot times, throughput beside a bare veth pair, and how exact a delay is.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::lab::{Twin, UpOptions};
use fleet::{Artifact, Host};
use miette::{IntoDiagnostic, WrapErr};

use super::ground::{Ground, NAME, saorsa};
use super::{delay, figure, median, quantile};
use crate::exit::Infrastructure;

const REPEATS: usize = 3;
const SET_DELAY_MS: f64 = 20.0;

/// Two hosts at no distance for throughput; `far` is at a set delay from `near`.
const INVENTORY: &str = "\
fleet: bench
wan:
  constant_ms: 0
  links:
    - { from: near, to: far, delay_ms: 20 }
nodes:
  - { name: near, addresses: [192.0.2.1], provider: Bench, region: here, role: test }
  - { name: beside, addresses: [192.0.2.2], provider: Bench, region: here, role: test }
  - { name: far, addresses: [192.0.2.3], provider: Bench, region: here, role: test }
";

pub fn run() -> miette::Result<()> {
    up_and_down()?;
    let ground = Ground::boot(INVENTORY)?;
    let runtime = tokio::runtime::Runtime::new().into_diagnostic()?;
    runtime.block_on(async {
        let hosts = ground.connect().await?;
        throughput(&hosts[0], &hosts[1]).await?;
        exactness(&ground, &hosts[0], &hosts[2]).await
    })
}

fn up_and_down() -> miette::Result<()> {
    let inventory = saorsa()?;
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        Twin::down(NAME)?;
        let began = Instant::now();
        Twin::up(
            &UpOptions {
                name: NAME,
                inventory: &inventory,
            },
            |_| {},
        )?;
        ups.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        Twin::down(NAME)?;
        downs.push(began.elapsed().as_secs_f64());
    }
    figure("ten hosts up", median(ups));
    figure("ten hosts down", median(downs));
    Ok(())
}

async fn throughput(a: &Host, b: &Host) -> miette::Result<()> {
    let bare = Bare::new()?;
    let mut shares = Vec::new();
    for _ in 0..REPEATS {
        let through_wan = between_hosts(a, b).await?;
        let through_veth = bare.throughput()?;
        eprintln!(
            "TCP: {:.1} Gbit/s through the WAN, {:.1} over a veth pair",
            through_wan / 1e9,
            through_veth / 1e9
        );
        shares.push(100.0 * through_wan / through_veth);
    }
    figure("TCP through the WAN, of a veth pair", median(shares));
    Ok(())
}

const CLIENT: [&str; 7] = ["iperf3", "--json", "--time", "2", "--omit", "1", "--client"];

async fn between_hosts(a: &Host, b: &Host) -> miette::Result<f64> {
    let address = b.node.address().to_string();
    let limit = Duration::from_secs(20);
    on(
        b,
        &[
            "systemd-run",
            "--quiet",
            "--collect",
            "iperf3",
            "--server",
            "--one-off",
        ],
        limit,
    )
    .await?;
    // It listens a moment after it was started.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let said = on(a, &[&CLIENT[..], &[&address]].concat(), limit).await?;
    bits_per_second(&said)
}

async fn on(host: &Host, argv: &[&str], limit: Duration) -> miette::Result<String> {
    host.run(argv, limit)
        .await
        .map_err(|e| Infrastructure::from_error(&e))
}

fn bits_per_second(said: &str) -> miette::Result<f64> {
    let report: serde_json::Value = serde_json::from_str(said)
        .into_diagnostic()
        .wrap_err("iperf3 reports in JSON")?;
    let rate = report
        .pointer("/end/sum_received/bits_per_second")
        .and_then(serde_json::Value::as_f64);
    rate.ok_or_else(|| miette::miette!("iperf3 measured nothing: {said}"))
}

/// Two namespaces and a veth pair between them: the most that this machine can do.
struct Bare;

impl Bare {
    const NAMES: [&str; 2] = ["vps-test-bench-a", "vps-test-bench-b"];

    fn new() -> miette::Result<Self> {
        let [a, b] = Self::NAMES;
        let bare = Self;
        for name in Self::NAMES {
            ip(&["netns", "add", name])?;
        }
        ip(&[
            "-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b,
        ])?;
        for (name, address) in [(a, "192.0.2.1/24"), (b, "192.0.2.2/24")] {
            ip(&["-n", name, "addr", "add", address, "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
        }
        Ok(bare)
    }

    fn throughput(&self) -> miette::Result<f64> {
        let [a, b] = Self::NAMES;
        let mut server: Child = inside(b)
            .args(["iperf3", "--server", "--one-off"])
            .stdout(Stdio::null())
            .spawn()
            .into_diagnostic()?;
        std::thread::sleep(Duration::from_millis(300));
        let said = inside(a)
            .args(CLIENT)
            .arg("192.0.2.2")
            .output()
            .into_diagnostic()?;
        server.kill().into_diagnostic()?;
        server.wait().into_diagnostic()?;
        bits_per_second(&String::from_utf8_lossy(&said.stdout))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for name in Self::NAMES {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn inside(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]);
    command
}

fn ip(words: &[&str]) -> miette::Result<()> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .into_diagnostic()
        .wrap_err("cannot run ip")?;
    if output.status.success() {
        return Ok(());
    }
    miette::bail!(
        "`ip {}`: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )
}

/// 10,000 datagrams a second over a pair with a set delay.
async fn exactness(ground: &Ground, from: &Host, to: &Host) -> miette::Result<()> {
    let own = std::env::current_exe().into_diagnostic()?;
    let artifact = Artifact::read(&own).map_err(|e| Infrastructure::from_error(&e))?;
    let directory = "/opt/vps-test-bench";
    for host in [from, to] {
        host.upload(&[&artifact], directory, |_, _| {})
            .await
            .map_err(|e| Infrastructure::from_error(&e))?;
    }
    let program = artifact.path_in(directory);
    let at = format!("{}:7000", to.node.address());
    let before = ground.twin.status()?.wan.unasked;
    let limit = Duration::from_secs(30);
    let receive = [program.as_str(), "bench", "receive", &at];
    let send = [program.as_str(), "bench", "send", &at];
    let (said, sent) = tokio::join!(on(to, &receive, limit), async {
        // The receiver listens first.
        tokio::time::sleep(Duration::from_millis(500)).await;
        on(from, &send, limit).await
    });
    sent?;
    let delays: Vec<f64> = said?
        .split_whitespace()
        .filter_map(|n| n.parse::<f64>().ok())
        .map(|ns| ns / 1e6)
        .collect();
    let off = delays
        .iter()
        .map(|delay| (delay - SET_DELAY_MS).abs())
        .collect();
    let missing = u64::from(delay::SENT).saturating_sub(delays.len() as u64);
    let unasked = ground.twin.status()?.wan.unasked - before;
    figure("added delay off the set value, p99", quantile(off, 0.99));
    figure("drops not asked for", (missing.max(unasked)) as f64);
    Ok(())
}
