//! The end of a run on one screen: matrix, criteria, worst cells, what to do next.

use std::fmt::Write;

use model::attempt::Matrix;
use model::event::StopCause;
use model::inventory::NodeName;
use model::measure::Unit;
use model::proof::behaviours::BehaviourPair;
use model::proof::{CriterionResult, Proof};
use model::stats::Verdict;

use super::grid::Grid;
use super::paint::{Paint, Style};

/// How many failing cells are named before the rest is counted.
const WORST_CELLS: usize = 6;

/// How many characters of its reason.
const REASON: usize = 240;

pub fn render(proof: &Proof, proof_file: &str, stopped: Option<StopCause>, paint: Paint) -> String {
    let mut out = String::new();
    if !was_shown_in_full(proof) {
        out.push_str(&grid(proof).render(paint));
        out.push('\n');
    }
    for criterion in &proof.criteria {
        out.push_str(&criterion_line(criterion, paint));
    }
    behaviours(&mut out, proof, paint);
    measures(&mut out, proof, paint);
    worst_cells(&mut out, proof, paint);
    let _ = writeln!(
        out,
        "\n  {}  {}",
        verdict_word(proof.verdict, paint),
        proof.summary
    );
    let _ = writeln!(out, "  proof  {proof_file}");
    let _ = writeln!(out, "  next   {}", next_step(proof, stopped));
    out
}

/// The live screen shows the matrix once every cell was tried; one that was not
/// finished is shown here, as far as it came.
fn was_shown_in_full(proof: &Proof) -> bool {
    let was_there = |name: &NodeName| {
        proof
            .nodes
            .iter()
            .any(|n| n.name == *name && n.reached == "reached")
    };
    let mut due = proof
        .matrix
        .iter()
        .filter(|cell| was_there(&cell.pair.from) && was_there(&cell.pair.to));
    let any = proof
        .attempts
        .iter()
        .any(|a| a.start.matrix == Matrix::Stack);
    !any || due.all(|cell| cell.attempts > 0 || cell.failure.is_some())
}

fn grid(proof: &Proof) -> Grid {
    let mut grid = Grid::of_plan(&proof.plan);
    let last_test = proof
        .attempts
        .iter()
        .filter(|a| a.start.matrix == Matrix::Stack);
    let newest = last_test
        .clone()
        .map(|a| (a.start.cycle, a.start.pass))
        .max()
        .unwrap_or_default();
    for attempt in last_test.filter(|a| (a.start.cycle, a.start.pass) == newest) {
        grid.add(attempt);
    }
    grid
}

/// `✓ direct          72/72   100.0%  95% interval [95.0, 100.0]  target 99 − 4   PASS`
pub fn criterion_line(c: &CriterionResult, paint: Paint) -> String {
    let (tick, style) = sign(c.verdict);
    let counts = format!("{}/{}", c.successes, c.attempts);
    let rest = 23_usize.saturating_sub(c.name.chars().count());
    format!(
        "  {} {} {counts:>rest$}  {}  {}  {}\n",
        paint.text(style, tick),
        c.name,
        measured(c),
        asked(c),
        paint.text(style, &c.verdict.to_string()),
    ) + &uneven_line(c, paint)
        + &reason_line(c, paint)
}

fn measured(c: &CriterionResult) -> String {
    let Some(estimate) = c.estimate else {
        return "no data".to_owned();
    };
    let unit = c.unit.to_string();
    let value = match c.unit {
        Unit::Percent => format!("{estimate:>5.1}%"),
        _ => format!("{estimate:.1} {unit}"),
    };
    match c.interval {
        Some([low, high]) => format!("{value}  95% interval [{low:.1}, {high:.1}]"),
        None => value,
    }
}

fn asked(c: &CriterionResult) -> String {
    match &c.baseline {
        Some(was) => format!("was {:.1} {} (n = {})", was.estimate, c.unit, was.attempts),
        None if c.unit == Unit::Percent && c.margin > 0.0 => {
            format!("target {} − {}", c.target, c.margin)
        }
        None => String::new(),
    }
}

/// Cells that an average would hide.
fn uneven_line(c: &CriterionResult, paint: Paint) -> String {
    if c.uneven.is_empty() {
        return String::new();
    }
    let text = format!("not alike: {}", c.uneven.join(", "));
    format!("      {}\n", paint.text(Style::Warn, &text))
}

fn reason_line(c: &CriterionResult, paint: Paint) -> String {
    if c.verdict == Verdict::Pass {
        String::new()
    } else {
        format!("      {}\n", paint.text(Style::Dim, &c.reason))
    }
}

/// Theory, what the inventory expects, and what was observed.
fn behaviours(out: &mut String, proof: &Proof, paint: Paint) {
    if proof.behaviours.is_empty() {
        return;
    }
    // Behaviours have names, or go by themselves.
    let short = |name: &str| name.split(" (").next().unwrap_or(name).to_owned();
    let who = |pair: &BehaviourPair| format!("{} → {}", short(&pair.caller), short(&pair.callee));
    let width = proof.behaviours.iter().map(|p| who(p).chars().count());
    let width = width.max().unwrap_or(0).max("NAT behaviours".len());
    let title = format!(
        "{:<width$}    path       expected  observed",
        "NAT behaviours"
    );
    let _ = writeln!(out, "\n  {}", paint.text(Style::Strong, &title));
    for pair in &proof.behaviours {
        let expected = pair.expected.map_or_else(String::new, |p| format!("{p}%"));
        let (who, path) = (who(pair), pair.predicted.to_string());
        let _ = writeln!(out, "    {who:<width$}  {path:<9}  {expected:<8}  {pair}");
    }
}

/// Those that no criterion shows, by suite.
fn measures(out: &mut String, proof: &Proof, paint: Paint) {
    let mut suite = None;
    for measure in &proof.measures {
        let mut criteria = proof.criteria.iter();
        if measure.values == 0 || criteria.any(|c| c.is_of(&measure.suite, &measure.measure)) {
            continue;
        }
        if suite.replace(&measure.suite) != Some(&measure.suite) {
            let name = measure.suite.to_string();
            let _ = writeln!(out, "\n  {}", paint.text(Style::Strong, &name));
        }
        let _ = writeln!(out, "    {measure}");
    }
}

fn worst_cells(out: &mut String, proof: &Proof, paint: Paint) {
    let mut failing: Vec<_> = proof
        .matrix
        .iter()
        .filter(|cell| cell.failure.is_some() && cell.attempts > 0)
        .collect();
    if failing.is_empty() {
        return;
    }
    failing.sort_by(|a, b| rate(a.successes, a.attempts).total_cmp(&rate(b.successes, b.attempts)));
    let _ = writeln!(out, "\n  {}", paint.text(Style::Strong, "Worst cells"));
    for cell in failing.iter().take(WORST_CELLS) {
        let _ = writeln!(
            out,
            "  {}  {} of {}, predicted {}\n      {}",
            cell.pair,
            cell.successes,
            cell.attempts,
            cell.predicted,
            shortened(cell.failure.as_deref().unwrap_or_default())
        );
    }
    if failing.len() > WORST_CELLS {
        let _ = writeln!(
            out,
            "  … and {} more, in the proof",
            failing.len() - WORST_CELLS
        );
    }
    if let Some(command) = failing.iter().find_map(|cell| proof.repro(&cell.pair)) {
        let _ = writeln!(
            out,
            "  {}",
            paint.text(Style::Dim, &format!("again: {command}"))
        );
    }
}

/// A reason in one line of the screen; the whole of it is in the proof.
fn shortened(reason: &str) -> String {
    let short: String = reason.chars().take(REASON).collect();
    if short.len() < reason.len() {
        format!("{short}…")
    } else {
        short
    }
}

/// The rest is in the proof.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn rate(successes: u64, attempts: u64) -> f64 {
    successes as f64 / attempts.max(1) as f64
}

/// A verdict at a glance.
pub fn sign(verdict: Verdict) -> (&'static str, Style) {
    match verdict {
        Verdict::Pass => ("✓", Style::Good),
        Verdict::Fail => ("✗", Style::Bad),
        Verdict::Inconclusive => ("?", Style::Warn),
    }
}

fn verdict_word(verdict: Verdict, paint: Paint) -> String {
    paint.text(sign(verdict).1, &verdict.to_string())
}

fn next_step(proof: &Proof, stopped: Option<StopCause>) -> String {
    let project = &proof.project;
    match (stopped, proof.verdict) {
        (Some(StopCause::Infrastructure), _) => format!("mend what is named above, then `vps-test resume {project}`: nothing was learnt about the stack"),
        (Some(StopCause::Unconfirmed), _) => format!("look at proof.html, then: vps-test confirm {project}, or vps-test confirm {project} --reject --reason …"),
        (Some(StopCause::Parked | StopCause::Failed), _) => {
            format!("read the newest fix/*/README.md beside the proof, mend it, then `vps-test fixed {project}`")
        }
        (Some(StopCause::Requested), _) => format!("`vps-test resume {project}` when you are ready; what was measured is in the proof"),
        (_, Verdict::Pass) if proof.plan.soak_seconds.is_empty() => {
            "start again without `--soak 0` to see it hold after one hour and after six".into()
        }
        (_, Verdict::Pass) => format!("keep the proof; anybody can judge it again from the journal beside it: vps-test verify {project}"),
        (_, Verdict::Fail) => {
            format!("the proof has every rung of every attempt, logs/ what the nodes said; mend, and start {project} again")
        }
        (_, Verdict::Inconclusive) => {
            "more attempts would settle it: raise tests.connectivity.budget, or mend the infrastructure named above".into()
        }
    }
}
