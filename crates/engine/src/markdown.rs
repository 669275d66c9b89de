//! `proof-<timestamp>.md`, in the request's format.

use std::fmt::Write;

use jiff::SignedDuration;
use model::attempt::Matrix;
use model::cells::samples;
use model::family::Family;
use model::link::RoundTrip;
use model::measure::Unit;
use model::measure::summary::Summary;
use model::proof::{CriterionResult, MatrixCell, Proof};
use model::stats::Verdict;

/// The whole document.
pub fn render(proof: &Proof) -> String {
    let run_dir = &proof.environment.run_dir;
    let mut out = String::new();
    header(&mut out, proof);
    criteria(&mut out, proof);
    behaviours(&mut out, proof);
    measures(&mut out, proof);
    findings(&mut out, proof);
    failures(&mut out, proof);
    evidence(&mut out, proof, run_dir);
    nodes(&mut out, proof);
    links(&mut out, proof);
    matrix(&mut out, proof);
    builds(&mut out, proof);
    out
}

/// Writing to a String cannot fail; this keeps the calls readable.
macro_rules! line {
    ($out:expr) => { $out.push('\n') };
    ($out:expr, $($arg:tt)*) => {{ let _ = writeln!($out, $($arg)*); }};
}

fn header(out: &mut String, proof: &Proof) {
    line!(out, "# Test Proof: {}", proof.project);
    line!(
        out,
        "## Date: {}",
        proof.started_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    );
    line!(
        out,
        "## Duration: {}",
        duration(proof.ended_at.duration_since(proof.started_at))
    );
    let state = &proof.state;
    line!(out, "## Result: {state} ({})", proof.verdict);
    line!(out);
    line!(out, "{}", proof.summary);
    line!(out);
}

fn criteria(out: &mut String, proof: &Proof) {
    let title = if proof.verdict == Verdict::Pass {
        "Success Criteria Met"
    } else {
        "Success Criteria"
    };
    line!(out, "### {title}");
    for criterion in &proof.criteria {
        line!(out, "- {}", criterion_line(criterion));
    }
    line!(out);
}

/// `Direct connections: 100.0% (target: 99%), 72 of 72, 95% interval 95.0–100.0%, margin 4: PASS. …`
fn criterion_line(c: &CriterionResult) -> String {
    let (name, family) = Family::of_measure(&c.name);
    let name = match name {
        "direct" => "Direct connections",
        "nat_traversed" => "NAT traversal",
        "relay" => "Relay",
        other => other,
    };
    let name = match family {
        Family::Ipv4 => name.to_owned(),
        Family::Ipv6 => format!("{name} over IPv6"),
    };
    let Some(estimate) = c.estimate else {
        return format!("{name} ({}): {}. {}", c.asks, c.verdict, c.reason);
    };
    let unit = match c.unit {
        Unit::Percent => "%".to_owned(),
        other => format!(" {other}"),
    };
    let interval = c.interval.map_or_else(String::new, |[low, high]| {
        format!(", 95% interval {low:.1}–{high:.1}{unit}")
    });
    let asked = match &c.baseline {
        Some(was) => format!("was: {:.1}{unit}, n = {}", was.estimate, was.attempts),
        None => format!("target: {}{unit}", c.target),
    };
    let margin = if c.margin > 0.0 {
        format!(", margin {}", c.margin)
    } else {
        String::new()
    };
    let infrastructure = match c.infrastructure_failures {
        0 => String::new(),
        n => format!(", {n} infrastructure failures apart"),
    };
    let uneven = if c.uneven.is_empty() {
        String::new()
    } else {
        format!(" Not alike: {}.", c.uneven.join(", "))
    };
    format!(
        "{name}: {estimate:.1}{unit} ({asked}) {} of {}{interval}{margin}{infrastructure}: {}. {}{uneven}",
        c.successes, c.attempts, c.verdict, c.reason
    )
}

fn behaviours(out: &mut String, proof: &Proof) {
    if proof.behaviours.is_empty() {
        return;
    }
    line!(out, "### NAT behaviours");
    line!(
        out,
        "| caller | callee | path by theory | expected | observed |"
    );
    line!(out, "|---|---|---|---|---|");
    for pair in &proof.behaviours {
        let expected = pair.expected.map_or_else(String::new, |p| format!("{p}%"));
        line!(
            out,
            "| {} | {} | {} | {expected} | {pair} |",
            pair.caller,
            pair.callee,
            pair.predicted
        );
    }
    line!(out);
}

/// Those that no criterion shows.
fn measures(out: &mut String, proof: &Proof) {
    let shown = |m: &Summary| {
        let mut criteria = proof.criteria.iter();
        criteria.any(|c| c.is_of(&m.suite, &m.measure))
    };
    let mut others = proof
        .measures
        .iter()
        .filter(|m| m.values > 0 && !shown(m))
        .peekable();
    if others.peek().is_none() {
        return;
    }
    line!(out, "### Measures");
    for measure in others {
        line!(out, "- {}: {}", measure.suite, measure);
    }
    line!(out);
}

fn findings(out: &mut String, proof: &Proof) {
    if proof.findings.is_empty() {
        return;
    }
    line!(out, "### Findings");
    for finding in &proof.findings {
        line!(out, "- {finding}");
    }
    line!(out);
}

fn failures(out: &mut String, proof: &Proof) {
    let failed: Vec<_> = proof
        .matrix
        .iter()
        .filter(|cell| cell.failure.is_some())
        .collect();
    if failed.is_empty() {
        return;
    }
    line!(out, "### Cells with failures");
    for cell in failed {
        let reason = cell.failure.as_deref().unwrap_or_default();
        line!(
            out,
            "- {} ({} of {} succeeded): {reason}",
            cell.pair,
            cell.successes,
            cell.attempts
        );
        if let Some(command) = proof.repro(&cell.pair) {
            line!(out, "  again: `{command}`");
        }
    }
    line!(out);
}

fn evidence(out: &mut String, proof: &Proof, run_dir: &str) {
    line!(out, "### Evidence");
    line!(out, "- Journal: {run_dir}/journal.jsonl");
    if proof.evidence.logs.is_empty() {
        line!(out, "- Logs: not collected");
    } else {
        line!(
            out,
            "- Logs: {run_dir}/logs/ ({} files)",
            proof.evidence.logs.len()
        );
    }
    match proof.evidence.captures.len() {
        0 => {}
        n => line!(out, "- Captures: {run_dir}/captures/ ({n} files)"),
    }
    match &proof.evidence.metrics {
        Some(metrics) => line!(out, "- Metrics: {run_dir}/{metrics}"),
        None => line!(out, "- Metrics: not collected"),
    }
    let commits = &proof.evidence.fix_commits;
    line!(
        out,
        "- Fix commits: {}",
        if commits.is_empty() {
            "none".to_owned()
        } else {
            commits.join(", ")
        }
    );
    if let Some(wan) = proof.wan {
        line!(
            out,
            "- Emulated internet: {} packets, lateness p50 {:.2} ms, p99 {:.2} ms, {} unasked drops",
            wan.packets,
            wan.lateness_p50_ms,
            wan.lateness_p99_ms,
            wan.unasked_drops
        );
    }
    for sample in samples(&proof.plan) {
        line!(out, "- Sample: {sample}");
    }
    let latency_attempts = proof
        .attempts
        .iter()
        .filter(|a| a.start.matrix == Matrix::Stack)
        .count();
    line!(
        out,
        "- Attempts: {latency_attempts}, each with rungs, endpoints and counted bytes, in {run_dir}/proof.json"
    );
    line!(
        out,
        "- Terms: {} bytes each way, {} s a rung, fresh ports and identities in every attempt",
        proof.plan.payload_bytes,
        proof.plan.timeout_ms / 1000
    );
    line!(out);
}

fn nodes(out: &mut String, proof: &Proof) {
    line!(out, "### Nodes Tested");
    line!(out);
    line!(
        out,
        "| Node | Region | NAT as labelled | NAT as measured | Stack | Running digest |"
    );
    line!(out, "|---|---|---|---|---|---|");
    for node in &proof.nodes {
        line!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            node.name,
            node.region,
            node.nat.labelled,
            node.nat.measured,
            node.stack.as_deref().unwrap_or("–"),
            node.digest
                .as_deref()
                .map_or("–", |d| &d[..d.len().min(16)])
        );
    }
    for node in &proof.nodes {
        if let Some(firewall) = &node.firewall {
            line!(
                out,
                "\n{} in IPv6: {}, measured as {}",
                node.name,
                firewall.labelled,
                firewall.measured
            );
        }
        if node.reached != "reached" {
            line!(out, "\n{} took no part: {}", node.name, node.reached);
        }
    }
    line!(out);
}

fn links(out: &mut String, proof: &Proof) {
    if proof.links.is_empty() {
        return;
    }
    line!(out, "### Network Between Hosts");
    line!(out);
    line!(out, "Round trips, set / measured.");
    line!(out);
    line!(
        out,
        "| Pair | Pairs like it | Delay | Jitter | Loss | Rate | |"
    );
    line!(out, "|---|---|---|---|---|---|---|");
    for link in &proof.links {
        let both = |part: &dyn Fn(&RoundTrip) -> String| {
            let say = |side: &Option<RoundTrip>| side.as_ref().map_or("–".into(), part);
            format!("{} / {}", say(&link.set), say(&link.measured))
        };
        line!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            link.pair,
            link.like_it,
            both(&|r| format!("{:.1} ms", r.delay_ms)),
            both(&|r| format!("{:.1} ms", r.jitter_ms)),
            both(&|r| format!("{:.1}%", r.loss_percent)),
            both(&|r| r
                .rate_mbit
                .map_or_else(|| "–".into(), |rate| format!("{rate:.1} Mbit/s"))),
            link.mismatch.as_deref().unwrap_or("")
        );
    }
    line!(out);
}

fn matrix(out: &mut String, proof: &Proof) {
    line!(out, "### Connectivity Matrix");
    line!(out);
    line!(
        out,
        "| From | To | Family | Category | Predicted | Observed | Claimed | Plain UDP | Attempts | Connect |"
    );
    line!(out, "|---|---|---|---|---|---|---|---|---|---|");
    for cell in &proof.matrix {
        line!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} of {} | {} |",
            cell.pair.caller_name(),
            cell.pair.callee_name(),
            cell.pair.family,
            cell.category,
            cell.predicted,
            cell.observed,
            cell.claimed,
            cell.reference
                .map_or_else(|| "–".to_owned(), |path| path.to_string()),
            cell.successes,
            cell.attempts,
            connect(cell)
        );
    }
    line!(out);
}

fn connect(cell: &MatrixCell) -> String {
    cell.connect_ms
        .map_or_else(|| "–".into(), |ms| format!("{ms:.0} ms"))
}

fn builds(out: &mut String, proof: &Proof) {
    line!(out, "### Builds");
    for build in &proof.builds {
        line!(
            out,
            "- {} {} ({} bytes) by `{}`",
            build.binary,
            build.sha256,
            build.bytes,
            build.command
        );
    }
    if let Some(stack) = &proof.plan.stack {
        let commit = stack.commit.as_deref().unwrap_or("no commit");
        let dirty = stack
            .dirty_sha256
            .as_deref()
            .map_or("clean".into(), |d| format!("uncommitted diff {d}"));
        line!(
            out,
            "- {} from {}: {commit}, {dirty}",
            stack.name,
            stack.given
        );
    }
}

/// `6h 30m`, `2m 31s`, `8s`.
pub fn duration(d: SignedDuration) -> String {
    let seconds = d.as_secs().max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}
