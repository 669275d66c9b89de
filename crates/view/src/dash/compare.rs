//! Two runs side by side: criteria, and the cells that differ.

use model::proof::{CriterionResult, Proof};
use model::publication::RunSummary;

use super::overview::bar;
use super::{badge, in_query, put};
use crate::html::Escaped;

pub fn compare(a: (&RunSummary, &Proof), b: (&RunSummary, &Proof)) -> String {
    let mut out = String::from(
        "<h1>Compare</h1>\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Criteria of both\"><table class=\"card\"><thead><tr><td></td>",
    );
    for (letter, (summary, _)) in [("A", a), ("B", b)] {
        put(
            &mut out,
            format_args!(
                "<th scope=\"col\">{letter} <a href=\"/runs/{}\">{}</a> {}<br><small>{}</small></th>",
                in_query(summary.run.as_str()),
                Escaped(summary.run.as_str()),
                badge(summary.standing),
                Escaped(summary.stack.as_deref().unwrap_or(""))
            ),
        );
    }
    out.push_str("<th scope=\"col\">Change</th></tr></thead><tbody>\n");
    let mut names: Vec<&str> = [a, b]
        .iter()
        .flat_map(|(_, proof)| proof.criteria.iter().map(|c| c.name.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of = |proof: &'_ Proof| proof.criteria.iter().find(|c| c.name == name).cloned();
        let (left, right) = (of(a.1), of(b.1));
        put(
            &mut out,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                Escaped(name),
                shown(left.as_ref()),
                shown(right.as_ref()),
                change(left.as_ref(), right.as_ref())
            ),
        );
    }
    out.push_str("</tbody></table></div>\n");
    cells(&mut out, a, b);
    out
}

fn shown(c: Option<&CriterionResult>) -> String {
    c.map_or_else(
        || "–".to_owned(),
        |c| {
            format!(
                "{} {}/{} {}",
                bar(c),
                c.successes,
                c.attempts,
                badge(c.verdict)
            )
        },
    )
}

/// Intervals that overlap show no difference, whatever the rates are.
fn change(a: Option<&CriterionResult>, b: Option<&CriterionResult>) -> &'static str {
    let interval = |c: Option<&CriterionResult>| c.and_then(|c| c.interval);
    match (interval(a), interval(b)) {
        (Some([_, high]), Some([low, _])) if low > high => "better: the intervals are apart",
        (Some([low, _]), Some([_, high])) if high < low => "worse: the intervals are apart",
        (Some(_), Some(_)) => "no difference shown: the intervals overlap",
        _ => "not in both",
    }
}

fn cells(out: &mut String, a: (&RunSummary, &Proof), b: (&RunSummary, &Proof)) {
    out.push_str(
        "<section class=\"card\" aria-label=\"Cells that differ\"><h2>Cells that differ</h2>\n",
    );
    let mut rows = String::new();
    for left in &a.1.matrix {
        let Some(right) = b.1.matrix.iter().find(|cell| cell.pair == left.pair) else {
            continue;
        };
        let failed = |cell: &model::proof::MatrixCell| cell.attempts - cell.successes;
        if left.observed == right.observed && (failed(left) == 0) == (failed(right) == 0) {
            continue;
        }
        let href = |summary: &RunSummary| {
            format!(
                "/matrix?run={}&amp;from={}&amp;to={}#cell",
                in_query(summary.run.as_str()),
                in_query(left.pair.from.as_str()),
                in_query(left.pair.to.as_str())
            )
        };
        put(
            &mut rows,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td><a href=\"{}\">{} {}/{}</a></td><td><a href=\"{}\">{} {}/{}</a></td></tr>\n",
                Escaped(&left.pair.to_string()),
                href(a.0),
                left.observed,
                left.successes,
                left.attempts,
                href(b.0),
                right.observed,
                right.successes,
                right.attempts
            ),
        );
    }
    if rows.is_empty() {
        out.push_str("<p class=\"empty\">None.</p>\n");
    } else {
        put(
            out,
            format_args!(
                "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Differing cells\"><table><thead><tr><th scope=\"col\">Cell</th><th scope=\"col\">A</th><th scope=\"col\">B</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n"
            ),
        );
    }
    out.push_str("</section>\n");
}
