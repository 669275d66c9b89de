//! Two runs side by side.

use std::fmt::Write;

use model::compare::{Comparison, CriterionChange, Median, Rate, Side};

use super::paint::{Paint, Style};
use super::summary::sign;

/// Cells that are named before the rest is counted.
const CELLS: usize = 20;

pub fn render(comparison: &Comparison, names: [&str; 2], paint: Paint) -> String {
    let mut out = String::new();
    for (word, name, side) in [
        ("before", names[0], &comparison.before),
        ("after", names[1], &comparison.after),
    ] {
        let _ = writeln!(out, "{word:<7} {}", headline(name, side, paint));
    }
    for caveat in &comparison.caveats {
        let _ = writeln!(out, "  {} {caveat}", paint.text(Style::Warn, "!"));
    }
    let _ = writeln!(out, "\n{}", paint.text(Style::Strong, "Criteria"));
    for criterion in &comparison.criteria {
        criterion_lines(&mut out, criterion, paint);
    }
    cells(&mut out, comparison, paint);
    connect(&mut out, comparison, paint);
    out
}

fn headline(name: &str, side: &Side, paint: Paint) -> String {
    let verdict = side.verdict.map_or("no verdict".to_owned(), |verdict| {
        let (glyph, style) = sign(verdict);
        paint.text(style, &format!("{glyph} {verdict}"))
    });
    let at = side
        .started_at
        .map_or(String::new(), |at| format!(", {at:.0}"));
    let commit = side
        .commit
        .as_deref()
        .map_or(String::new(), |c| format!(", stack at {}", short_commit(c)));
    let tester = side.tester.as_deref().map_or(String::new(), |digest| {
        format!(", tester {}", digest.get(..12).unwrap_or(digest))
    });
    format!("{name}  {verdict}, {}{at}{commit}{tester}", side.state)
}

/// Twelve digits, and `+` where changes were not committed.
pub fn short_commit(commit: &str) -> String {
    let clean = commit.trim_end_matches('+');
    let short = clean.get(..12).unwrap_or(clean);
    format!("{short}{}", &commit[clean.len()..])
}

fn criterion_lines(out: &mut String, criterion: &CriterionChange, paint: Paint) {
    let (word, style) = match (criterion.apart, &criterion.before, &criterion.after) {
        (true, ..) => ("the intervals are apart", Style::Warn),
        (_, Some(_), Some(_)) => ("the intervals overlap: no difference is shown", Style::Dim),
        _ => ("only one of the two has it", Style::Dim),
    };
    let _ = writeln!(out, "  {}: {}", criterion.name, paint.text(style, word));
    for (when, rate) in [("before", &criterion.before), ("after", &criterion.after)] {
        if let Some(rate) = rate {
            let _ = writeln!(out, "    {when:<7} {}", self::rate(rate));
        }
    }
}

fn rate(rate: &Rate) -> String {
    let counts = format!("{}/{}", rate.successes, rate.attempts);
    let measured = match rate.interval {
        Some([low, high]) => {
            let percent = 100.0 * rate.successes as f64 / rate.attempts as f64;
            format!("{percent:>5.1}%  95% interval [{low:.1}, {high:.1}]")
        }
        None => "no data".into(),
    };
    let lost = match rate.infrastructure {
        0 => String::new(),
        n => format!(", {n} lost to infrastructure"),
    };
    format!("{counts:>9}  {measured}  {}{lost}", rate.verdict)
}

fn cells(out: &mut String, comparison: &Comparison, paint: Paint) {
    let _ = writeln!(out, "\n{}", paint.text(Style::Strong, "Cells that changed"));
    if comparison.cells.is_empty() {
        out.push_str("  none\n");
    }
    for cell in comparison.cells.iter().take(CELLS) {
        let _ = writeln!(out, "  {} ({})", cell.pair, cell.category);
        let _ = writeln!(
            out,
            "    before  {}\n    after   {}",
            cell.before, cell.after
        );
    }
    if comparison.cells.len() > CELLS {
        let _ = writeln!(out, "  … and {} more", comparison.cells.len() - CELLS);
    }
}

fn connect(out: &mut String, comparison: &Comparison, paint: Paint) {
    if comparison.connect_ms.is_empty() {
        return;
    }
    let title = paint.text(Style::Strong, "Time to connect, median");
    let _ = writeln!(out, "\n{title}");
    for change in &comparison.connect_ms {
        let _ = writeln!(
            out,
            "  {:<14} {} before, {} after",
            change.category.to_string(),
            median(change.before),
            median(change.after)
        );
    }
    let most = |m: Option<Median>| m.map_or(0, |m| m.at_once);
    let changes = comparison.connect_ms.iter();
    let at_once = changes.map(|c| most(c.before).max(most(c.after))).max();
    if at_once.is_some_and(|n| n > 4) {
        let words = "up to {} ran at once: these times hold beside each other, not by themselves";
        let words = words.replace("{}", &at_once.unwrap_or(0).to_string());
        let _ = writeln!(out, "  {}", paint.text(Style::Dim, &words));
    }
}

fn median(median: Option<Median>) -> String {
    median.map_or("not measured".into(), |m| {
        format!("{:.1} ms (n = {})", m.ms, m.n)
    })
}

#[cfg(test)]
mod tests {
    use model::attempt::Pair;
    use model::compare::{CellChange, ConnectChange};
    use model::inventory::NodeName;
    use model::nat::theory::Category;
    use model::stats::Verdict;

    use super::*;

    fn side(verdict: Verdict, commit: &str) -> Side {
        Side {
            project: "ant-quic".into(),
            started_at: Some("2026-01-02T11:54:00Z".parse().unwrap()),
            state: "COMPLETE".into(),
            verdict: Some(verdict),
            commit: Some(commit.into()),
            tester: Some("0123456789abcdef".into()),
        }
    }

    fn rate(successes: u64, attempts: u64, interval: [f64; 2], verdict: Verdict) -> Option<Rate> {
        Some(Rate {
            successes,
            attempts,
            infrastructure: 0,
            interval: Some(interval),
            verdict,
        })
    }

    #[test]
    fn a_commit_that_broke_one_cell() {
        let median = |ms, n| Some(Median { ms, n, at_once: 10 });
        let comparison = Comparison {
            before: side(Verdict::Pass, "aaaaaaaaaaaaaaaaaaaa"),
            after: side(Verdict::Fail, "bbbbbbbbbbbbbbbbbbbb+"),
            caveats: vec!["the fleet differs: f, then g".into()],
            criteria: vec![CriterionChange {
                name: "nat_traversed".into(),
                before: rate(24, 24, [85.8, 100.0], Verdict::Pass),
                after: rate(1, 24, [0.1, 21.1], Verdict::Fail),
                apart: true,
            }],
            cells: vec![CellChange {
                pair: Pair::of_nodes(NodeName::new("port"), NodeName::new("cone")),
                category: Category::NatTraversed,
                before: "direct, 2 of 2".into(),
                after: "timeout: nothing came".into(),
            }],
            connect_ms: vec![ConnectChange {
                category: Category::Direct,
                before: median(35.25, 72),
                after: None,
            }],
        };
        let shown = render(&comparison, ["ant-quic~1", "ant-quic"], Paint::Plain);
        insta::assert_snapshot!(shown);
    }
}
