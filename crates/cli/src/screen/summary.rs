//! The end of a run on one screen: matrix, criteria, worst cells, what to do next.

use std::fmt::Write;

use model::attempt::Matrix;
use model::proof::{CriterionResult, Proof};
use model::stats::Verdict;

use super::grid::Grid;
use super::paint::{Paint, Style};

/// How many failing cells are named before the rest is counted.
const WORST_CELLS: usize = 6;

pub fn render(proof: &Proof, proof_file: &str, paint: Paint) -> String {
    let mut out = String::new();
    if !proof.matrix.is_empty() {
        out.push_str(&grid(proof).render(paint));
        out.push('\n');
    }
    for criterion in &proof.criteria {
        out.push_str(&criterion_line(criterion, paint));
    }
    worst_cells(&mut out, proof, paint);
    for finding in &proof.findings {
        let _ = writeln!(out, "  {} {finding}", paint.text(Style::Warn, "finding"));
    }
    let _ = writeln!(out, "\n  {}  {}", verdict_word(proof.verdict, paint), proof.summary);
    let _ = writeln!(out, "  proof  {proof_file}");
    let _ = writeln!(out, "  next   {}", next_step(proof));
    out
}

fn grid(proof: &Proof) -> Grid {
    let tested = proof.plan.nodes.iter().filter(|n| n.tested);
    let mut grid = Grid::new(tested.map(|n| (n.name.clone(), nat_word(n.nat))).collect());
    let last_test = proof.attempts.iter().filter(|a| a.start.matrix == Matrix::Stack);
    let newest = last_test.clone().map(|a| (a.start.cycle, a.start.pass)).max().unwrap_or_default();
    for attempt in last_test.filter(|a| (a.start.cycle, a.start.pass) == newest) {
        grid.add(attempt);
    }
    grid
}

/// `public`, `Full Cone`, `ADM/EIF`.
pub fn nat_word(nat: Option<model::nat::Behaviour>) -> String {
    match nat {
        None => "public".into(),
        Some(behaviour) => behaviour.classic_name().map_or_else(|| behaviour.to_string(), str::to_owned),
    }
}

/// `✓ direct          72/72   100.0%  [95.0, 100.0]  target 99 − 4   PASS`
pub fn criterion_line(c: &CriterionResult, paint: Paint) -> String {
    let (tick, style) = match c.verdict {
        Verdict::Pass => ("✓", Style::Good),
        Verdict::Fail => ("✗", Style::Bad),
        Verdict::Inconclusive => ("?", Style::Warn),
    };
    let counts = format!("{}/{}", c.successes, c.attempts);
    let measured = match c.interval {
        Some([low, high]) => {
            let percent = 100.0 * c.successes as f64 / c.attempts as f64;
            format!("{percent:>5.1}%  95% interval [{low:.1}, {high:.1}]")
        }
        None => "no data".to_owned(),
    };
    format!(
        "  {} {:<14} {counts:>9}  {measured}  target {} − {}  {}\n",
        paint.text(style, tick),
        c.name,
        c.target,
        c.margin,
        paint.text(style, &c.verdict.to_string()),
    ) + &reason_line(c, paint)
}

fn reason_line(c: &CriterionResult, paint: Paint) -> String {
    if c.verdict == Verdict::Pass { String::new() } else { format!("      {}\n", paint.text(Style::Dim, &c.reason)) }
}

fn worst_cells(out: &mut String, proof: &Proof, paint: Paint) {
    let mut failing: Vec<_> = proof.matrix.iter().filter(|cell| cell.failure.is_some()).collect();
    if failing.is_empty() {
        return;
    }
    failing.sort_by(|a, b| rate(a.successes, a.attempts).total_cmp(&rate(b.successes, b.attempts)));
    let _ = writeln!(out, "\n  {}", paint.text(Style::Strong, "Worst cells"));
    for cell in failing.iter().take(WORST_CELLS) {
        let _ = writeln!(
            out,
            "  {}  {} of {}, predicted {}: {}",
            cell.pair,
            cell.successes,
            cell.attempts,
            cell.predicted,
            cell.failure.as_deref().unwrap_or_default()
        );
    }
    if failing.len() > WORST_CELLS {
        let _ = writeln!(out, "  … and {} more, in the proof", failing.len() - WORST_CELLS);
    }
}

fn rate(successes: u64, attempts: u64) -> f64 {
    successes as f64 / attempts.max(1) as f64
}

fn verdict_word(verdict: Verdict, paint: Paint) -> String {
    let style = match verdict {
        Verdict::Pass => Style::Good,
        Verdict::Fail => Style::Bad,
        Verdict::Inconclusive => Style::Warn,
    };
    paint.text(style, &verdict.to_string())
}

fn next_step(proof: &Proof) -> String {
    let project = &proof.project;
    match proof.verdict {
        Verdict::Pass => format!("`vps-test logs {project}` shows what the nodes logged"),
        Verdict::Fail => format!("read the worst cells in the proof, mend, and `vps-test start {project} …` again"),
        Verdict::Inconclusive => {
            "more attempts would settle it: raise tests.connectivity.budget, or mend the infrastructure named above".into()
        }
    }
}
