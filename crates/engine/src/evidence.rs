//! What is gathered once a run is over: logs, metrics, the NAT boxes' rules.
//!
//! Every file's digest goes into the journal, so that the proof can name it and
//! a changed or missing one is noticed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use model::config::{Choice, ProofMode};
use model::event::{Collected, Environment, EvidenceFile, EvidenceKind};
use model::inventory::NodeName;
use model::payload::sha256_hex;
use model::run::Run;

use crate::capture::Keep;
use crate::live::Live;
use crate::recorder::Recorder;
use crate::run_dir::{RunDir, RunDirError};
use crate::settings::Settings;

/// How much of a unit's log goes into the run directory.
const LOG_LINES: u32 = 20_000;

/// Our own tables only: the rest of a host's firewall is its owner's affair.
const RULESETS: &str = "nft list tables | while read -r _ family name; do \
     case \"$name\" in vps_test*) nft -s list table \"$family\" \"$name\";; esac; done";

pub fn environment(dir: &RunDir) -> Environment {
    Environment {
        harness_version: env!("CARGO_PKG_VERSION").into(),
        harness_sha256: own_digest(),
        system: system(),
        processors: std::thread::available_parallelism()
            .map_or(0, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        run_dir: dir.display(),
    }
}

pub fn own_digest() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    Some(sha256_hex(&std::fs::read(program).ok()?))
}

/// `linux x86_64 6.18.5`
fn system() -> String {
    let machine = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    match std::fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(kernel) => format!("{machine} {}", kernel.trim()),
        Err(_) => machine,
    }
}

/// As the plan asks. What a host does not give any more is missing, and that is
/// what the proof says.
pub async fn collect(
    settings: &Settings,
    recorder: &Recorder,
    dir: &RunDir,
    live: &Live,
) -> Result<Collected, RunDirError> {
    let asked = |run: &Run| ProofMode::parse(&run.plan.as_ref()?.proof_mode).ok();
    let mode = recorder.with(asked).unwrap_or(ProofMode::AllEvidence);
    let mut files = rulesets(dir, live).await?;
    if mode.wants_logs() {
        files.extend(logs(recorder, dir, live, "logs").await?);
    }
    if mode.wants_metrics() {
        files.extend(metrics(dir, live).await?);
    }
    files.extend(captures(settings, dir, live).await?);
    files.sort();
    let wan = match &settings.observers.first {
        Some(observer) => observer.wan().await.ok().flatten(),
        None => None,
    };
    Ok(Collected { files, wan })
}

fn keep(
    dir: &RunDir,
    kind: EvidenceKind,
    path: String,
    text: &str,
) -> Result<EvidenceFile, RunDirError> {
    dir.write(&path, text)?;
    let (sha256, bytes) = dir.digest(&path)?;
    Ok(EvidenceFile {
        kind,
        path,
        sha256,
        bytes,
    })
}

/// `INTO/NODE.UNIT.log`, of every unit that was deployed; peers of one node are in
/// one file, told apart by their process ids. A host that cannot say any more leaves
/// its reason in the file.
pub async fn logs(
    recorder: &Recorder,
    dir: &RunDir,
    live: &Live,
    into: &str,
) -> Result<Vec<EvidenceFile>, RunDirError> {
    let wanted: BTreeSet<_> = recorder.with(|run| {
        run.deployed
            .iter()
            .map(|d| (d.node.clone(), all_instances(&d.unit)))
            .collect()
    });
    let fetches = wanted.iter().filter_map(|(node, unit)| {
        let host = Arc::clone(live.hosts.get(node)?);
        let since = recorder.with(|run| began(run, node));
        Some(async move {
            let text = host
                .journal_since(unit, LOG_LINES, since)
                .await
                .unwrap_or_else(|e| format!("not collected: {e}\n"));
            let name = unit.trim_end_matches(".service").trim_end_matches("@*");
            (format!("{into}/{node}.{name}.log"), text)
        })
    });
    let fetched = join_all(fetches).await;
    fetched
        .into_iter()
        .map(|(path, text)| keep(dir, EvidenceKind::Log, path, &text))
        .collect()
}

/// `x@*.service` of `x@2.service`: what one look at a host's journal can ask for.
fn all_instances(unit: &str) -> String {
    match unit.split_once('@') {
        Some((name, _)) => format!("{name}@*.service"),
        None => unit.to_owned(),
    }
}

/// When the run began, by a node's own clock.
fn began(run: &Run, node: &NodeName) -> i64 {
    let skew = run.reached.get(node).map_or(0, |facts| facts.clock_skew_ms);
    let here = run.started_at.map_or(0, |at| at.as_millisecond());
    (here + skew).div_euclid(1000).max(0)
}

async fn metrics(dir: &RunDir, live: &Live) -> Result<Option<EvidenceFile>, RunDirError> {
    let Some(registry) = &live.registry else {
        return Ok(None);
    };
    let answer = registry.get("/api/metrics").await;
    let Ok(text) = answer else { return Ok(None) };
    let path = "metrics/registry.json".to_owned();
    keep(dir, EvidenceKind::Metrics, path, &text).map(Some)
}

/// `rules/NODE.nft`, read back from the kernel of every host with a NAT box.
async fn rulesets(dir: &RunDir, live: &Live) -> Result<Vec<EvidenceFile>, RunDirError> {
    let boxed = live.hosts.values().filter(|host| host.node.nat.is_some());
    let fetches = boxed.map(async |host| {
        let text = host
            .script_ok(RULESETS, None, Duration::from_secs(20))
            .await;
        (host.name().clone(), text)
    });
    let fetched = join_all(fetches).await;
    let there = fetched
        .into_iter()
        .filter_map(|(node, text)| Some((node, text.ok().filter(|t| !t.trim().is_empty())?)));
    there
        .map(|(node, text)| {
            keep(
                dir,
                EvidenceKind::Ruleset,
                format!("rules/{node}.nft"),
                &text,
            )
        })
        .collect()
}

/// Ends the capture, and names what it left: `captures/ATTEMPT/SIDE-VANTAGE.pcapng`.
async fn captures(
    settings: &Settings,
    dir: &RunDir,
    live: &Live,
) -> Result<Vec<EvidenceFile>, RunDirError> {
    if settings.capture.keep == Keep::None {
        return Ok(Vec::new());
    }
    join_all(live.hosts.values().map(|host| host.stop_capture())).await;
    let files = dir.files()?;
    let captured = files
        .into_iter()
        .filter(|path| path.starts_with("captures/"));
    captured
        .map(|path| {
            let (sha256, bytes) = dir.digest(&path)?;
            Ok(EvidenceFile {
                kind: EvidenceKind::Capture,
                path,
                sha256,
                bytes,
            })
        })
        .collect()
}
