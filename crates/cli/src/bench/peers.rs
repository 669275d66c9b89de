//! Many peers on ten hosts: how long, how much memory, what a pair costs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::attempt::{Counted, Matrix};
use model::event::{Entry, Event};
use model::nat::theory::Prediction;
use model::run::State;

use super::figure;
use super::ground::{Ground, NAME, saorsa};
use super::matrix::{first, read, seconds};
use crate::exit::Infrastructure;

const SAMPLE: usize = 1000;

pub fn run() -> miette::Result<()> {
    for peers in [30, 100, 300] {
        let measured = measure(peers)?;
        eprintln!(
            "peers: {peers} with {} pairs, {:.1} s in all ({:.1} s to boot, {:.1} s to deploy), {:.0} ms a pair, {:.1} MiB a peer",
            measured.pairs,
            measured.whole_s,
            measured.boot_s,
            measured.deploy_s,
            measured.pair_ms,
            measured.peer_mib
        );
        if peers == 300 {
            figure("300 peers, start to 1,000 pairs", measured.whole_s);
        }
        figure(&format!("memory a peer, of {peers}"), measured.peer_mib);
        figure(&format!("time a pair, of {peers} peers"), measured.pair_ms);
    }
    Ok(())
}

struct Measured {
    pairs: usize,
    /// From no twin at all to the last pair.
    whole_s: f64,
    boot_s: f64,
    deploy_s: f64,
    pair_ms: f64,
    peer_mib: f64,
}

fn measure(peers: usize) -> miette::Result<Measured> {
    let began = Instant::now();
    let ground = Ground::boot(&with_peers(&saorsa()?, peers)?)?;
    let boot_s = began.elapsed().as_secs_f64();
    let journal = start()?;
    let matrix: Vec<&Entry> = journal.iter().filter(|e| is_stack(&e.event)).collect();
    let (Some(first_pair), Some(last)) = (matrix.first(), first_round(&matrix)) else {
        miette::bail!("no pair was tried");
    };
    check(&matrix)?;
    let pairs = matrix.iter().filter(|e| e.at <= last).count();
    let started = first(&journal, |_| true)?;
    let entered = |state: State| {
        let is_it = |e: &Event| matches!(e, Event::Entered { state: s } if *s == state);
        first(&journal, is_it)
    };
    let peer_mib = memory(&ground, peers)?;
    Ok(Measured {
        pairs,
        whole_s: boot_s + seconds(started, last),
        boot_s,
        deploy_s: seconds(entered(State::Deploy)?, entered(State::Test)?),
        pair_ms: seconds(first_pair.at, last) * 1e3 / pairs as f64,
        peer_mib,
    })
}

fn is_stack(event: &Event) -> bool {
    matches!(event, Event::AttemptFinished(a) if a.start.matrix == Matrix::Stack)
}

/// When the last attempt of the first round ended: pairs come again only after it.
fn first_round(matrix: &[&Entry]) -> Option<Timestamp> {
    let mut seen = std::collections::BTreeSet::new();
    let fresh = matrix.iter().filter(|entry| match &entry.event {
        Event::AttemptFinished(a) => seen.insert(a.start.cell.pair.clone()),
        _ => false,
    });
    fresh.last().map(|entry| entry.at)
}

/// What cannot fail must not have: else the times are those of something broken.
fn check(matrix: &[&Entry]) -> miette::Result<()> {
    for entry in matrix {
        if let Event::AttemptFinished(attempt) = &entry.event
            && attempt.start.cell.predicted == Prediction::Always
            && attempt.verdict() != Counted::Success
        {
            miette::bail!("{} failed: {:?}", attempt.start.cell.pair, attempt.outcome);
        }
    }
    Ok(())
}

/// So many peers in all, as evenly as can be.
fn with_peers(inventory: &str, peers: usize) -> miette::Result<String> {
    let mut value: serde_json::Value = serde_saphyr::from_str(inventory).into_diagnostic()?;
    let nodes = value
        .get_mut("nodes")
        .and_then(|nodes| nodes.as_array_mut())
        .ok_or_else(|| miette::miette!("the inventory has no nodes"))?;
    let mut tested: Vec<&mut serde_json::Value> = nodes
        .iter_mut()
        .filter(|node| node["role"] != "registry")
        .collect();
    let hosts = tested.len();
    for (index, node) in tested.iter_mut().enumerate() {
        node["peers"] = (peers / hosts + usize::from(index < peers % hosts)).into();
    }
    serde_json::to_string_pretty(&value).into_diagnostic()
}

/// Plain UDP as the stack. It has no relay, so that a run with a pair that needs
/// one fails, as it should.
fn start() -> miette::Result<Vec<Entry>> {
    let dir = tempfile::tempdir().into_diagnostic()?;
    let own = std::env::current_exe().into_diagnostic()?;
    let programs = own.parent().unwrap_or(Path::new("."));
    let config = format!(
        "workspace: {}
modules:
  plain: {{ project: plain-udp, binary: udp-test, crate: none, tests: [connectivity] }}
build: {{ command: 'true', target_dir: {} }}
tests:
  connectivity:
    sample: {SAMPLE}
    concurrency: {{ total: 32, per_node: 16 }}
",
        dir.path().display(),
        programs.display()
    );
    std::fs::write(dir.path().join("vps-test.yaml"), config).into_diagnostic()?;
    let words = "start plain-udp connectivity threshold logs --yes --soak 0 --twin";
    let status = Command::new(&own)
        .args(words.split(' '))
        .arg(NAME)
        .current_dir(dir.path())
        .env("VPS_TEST_STATE_DIR", dir.path().join("state"))
        .stdout(Stdio::null())
        .status()
        .into_diagnostic()
        .wrap_err("cannot run start")?;
    if !matches!(status.code(), Some(0 | 1)) {
        miette::bail!("start ended with {status}, so its times mean nothing");
    }
    read(&dir.path().join("state/plain-udp/latest/journal.jsonl"))
}

/// What a tester has for itself, with its share of what it has with others.
fn memory(ground: &Ground, peers: usize) -> miette::Result<f64> {
    const SUM: &str = "for pid in $(systemctl show -p MainPID --value 'saorsa-test-plain@*.service'); do
  cat /proc/$pid/smaps_rollup; done | awk '/^Pss:/ { sum += $2; n++ } END { print sum + 0, n + 0 }'";
    let runtime = tokio::runtime::Runtime::new().into_diagnostic()?;
    let sums = runtime.block_on(async {
        let hosts = ground.connect(usize::MAX).await?;
        let asked = hosts
            .iter()
            .map(|host| host.script_ok(SUM, None, Duration::from_secs(60)));
        try_join_all(asked)
            .await
            .map_err(|e| Infrastructure::from_error(&e))
    })?;
    let numbers = |text: &String| {
        let mut words = text.split_whitespace().map(str::parse);
        match (words.next(), words.next()) {
            (Some(Ok(kib)), Some(Ok(count))) => (kib, count),
            _ => (0.0, 0.0),
        }
    };
    let (kib, count) = sums
        .iter()
        .map(numbers)
        .fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
    if count != peers as f64 {
        miette::bail!("{count} of {peers} peers run");
    }
    Ok(kib / 1024.0 / count)
}
