//! One run, and its matrix, whose cells open.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::attempt::{Attempt, ObservedPath, Pair};
use model::event::Decision;
use model::family::Family;
use model::nat::theory::Prediction;
use model::proof::{MatrixCell, Proof};
use model::publication::RunSummary;

use super::overview::{criteria, state_words, tone};
use super::{ago, attempts::attempts, badge, in_query, machine, put};
use crate::by_nodes::{by_family, by_nodes};
use crate::html::Escaped;
use crate::natural::natural_key;

/// What a cell's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixBy {
    Path,
    Latency,
}

pub fn run(summary: &RunSummary, proof: &Proof, now: Timestamp) -> String {
    let mut out = String::new();
    let href = in_query(summary.run.as_str());
    put(
        &mut out,
        format_args!(
            "<div class=\"headline\"><h1>{}</h1> {} <p class=\"state-word\">{}</p></div>\n<p class=\"why\">{}</p>\n",
            Escaped(summary.run.as_str()),
            badge(summary.standing),
            state_words(summary, now),
            Escaped(summary.stopped.as_deref().unwrap_or(&proof.summary)),
        ),
    );
    reviewed(&mut out, proof, now);
    put(
        &mut out,
        format_args!(
            "<p class=\"facts\"><span>{}</span> <span>{}</span> <span>began {}</span> <a href=\"/matrix?run={href}\">matrix</a> \
             <a href=\"/map?run={href}\">map</a> <a href=\"/nat?run={href}\">NAT</a> <a href=\"/api/runs/{href}\">JSON</a> \
             <a href=\"/api/runs/{href}/entries\">journal</a></p>\n",
            Escaped(&summary.runs_on),
            Escaped(summary.stack.as_deref().unwrap_or("")),
            ago(summary.started_at, now),
        ),
    );
    put(
        &mut out,
        format_args!(
            "<section class=\"card {}\" aria-label=\"State and criteria\">\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"State machine\">{}</div>\n",
            tone(summary),
            machine(summary)
        ),
    );
    criteria(&mut out, &proof.criteria);
    for finding in &proof.findings {
        put(
            &mut out,
            format_args!("<p class=\"finding\">! {}</p>\n", Escaped(finding)),
        );
    }
    out.push_str("</section>\n<section class=\"card\" aria-label=\"Matrix\">\n<h2>Matrix</h2>\n");
    tables(&mut out, proof, summary, MatrixBy::Path, None);
    out.push_str("</section>\n<section class=\"card\" aria-label=\"Nodes\"><h2>Nodes</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Nodes of the run\"><table><thead><tr><th scope=\"col\">Node</th><th scope=\"col\">Role</th><th scope=\"col\">Region</th><th scope=\"col\">Measured NAT</th><th scope=\"col\">Kernel</th><th scope=\"col\">Reached</th></tr></thead><tbody>\n");
    for node in &proof.nodes {
        put(
            &mut out,
            format_args!(
                "<tr><th scope=\"row\"><a href=\"/nodes/{}\">{}</a></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                in_query(node.name.as_str()),
                Escaped(node.name.as_str()),
                Escaped(&node.role),
                Escaped(&node.region),
                Escaped(&node.nat.measured),
                Escaped(node.kernel.as_deref().unwrap_or("–")),
                Escaped(&node.reached),
            ),
        );
    }
    out.push_str("</tbody></table></div></section>\n");
    out
}

/// A person's word, once it is in the journal.
fn reviewed(out: &mut String, proof: &Proof, now: Timestamp) {
    let Some(reviewed) = &proof.review else {
        return;
    };
    let word = match reviewed.review.decision {
        Decision::Confirmed => "Confirmed",
        Decision::Rejected => "Rejected",
    };
    let reason = reviewed.review.reason.as_ref();
    put(
        out,
        format_args!(
            "<p class=\"why\">{word} by <b>{}</b> from the {}, {}{}</p>\n",
            Escaped(&reviewed.review.by),
            Escaped(&reviewed.review.via),
            ago(Some(reviewed.at), now),
            reason.map_or(String::new(), |reason| format!(": {}", Escaped(reason))),
        ),
    );
}

/// `open` is the cell that is looked into.
pub fn matrix_page(
    summary: &RunSummary,
    proof: &Proof,
    by: MatrixBy,
    open: Option<&Pair>,
) -> String {
    let mut out = String::new();
    let href = in_query(summary.run.as_str());
    put(
        &mut out,
        format_args!(
            "<div class=\"headline\"><h1>Matrix</h1> <p class=\"state-word\"><a href=\"/runs/{href}\">{}</a></p></div>\n\
             <p class=\"choice\" role=\"group\" aria-label=\"Colour by\">Colour by \
             <a href=\"/matrix?run={href}\"{}>path</a> <a href=\"/matrix?run={href}&amp;by=latency\"{}>connect time</a></p>\n",
            Escaped(summary.run.as_str()),
            current(by == MatrixBy::Path),
            current(by == MatrixBy::Latency),
        ),
    );
    out.push_str("<div class=\"beside\">\n<section class=\"card\" aria-label=\"Heat map\">\n");
    tables(&mut out, proof, summary, by, open);
    out.push_str("</section>\n");
    if let Some(pair) = open {
        opened(&mut out, proof, pair);
    } else {
        out.push_str("<p class=\"hint\">A cell opens its attempts.</p>\n");
    }
    out.push_str("</div>\n");
    out
}

fn current(is: bool) -> &'static str {
    if is { " aria-current=\"true\"" } else { "" }
}

fn opened(out: &mut String, proof: &Proof, pair: &Pair) {
    put(
        out,
        format_args!(
            "<section class=\"card cell-story\" id=\"cell\" aria-label=\"Cell {}\">\n<h2>{}</h2>\n",
            Escaped(&pair.to_string()),
            Escaped(&pair.to_string())
        ),
    );
    let together = by_nodes(&proof.matrix);
    if let Some(cell) = together.iter().find(|cell| cell.pair == *pair) {
        put(
            out,
            format_args!(
                "<dl class=\"pairs\"><div><dt>Predicted</dt><dd>{}</dd></div><div><dt>Observed</dt><dd>{}</dd></div>\
                 <div><dt>Claimed</dt><dd>{}</dd></div><div><dt>Plain UDP</dt><dd>{}</dd></div>\
                 <div><dt>Judged as</dt><dd>{}</dd></div><div><dt>Successes</dt><dd>{} of {}</dd></div></dl>\n",
                cell.predicted,
                cell.observed,
                cell.claimed,
                cell.reference
                    .map_or_else(|| "not tried".to_owned(), |path| path.to_string()),
                cell.category,
                cell.successes,
                cell.attempts,
            ),
        );
        if let Some(failure) = &cell.failure {
            put(
                out,
                format_args!("<p class=\"finding\">{}</p>\n", Escaped(failure)),
            );
        }
    }
    let of_cell: Vec<&Attempt> = proof
        .attempts
        .iter()
        .filter(|a| a.start.cell.pair.without_peers() == *pair)
        .collect();
    // The newest first: that is the one somebody asks about.
    attempts(out, of_cell.into_iter().rev().take(50));
    out.push_str("</section>\n");
}

/// One for each address family.
fn tables(
    out: &mut String,
    proof: &Proof,
    summary: &RunSummary,
    by: MatrixBy,
    open: Option<&Pair>,
) {
    for (family, cells) in by_family(&proof.matrix) {
        if family == Family::Ipv6 {
            put(out, format_args!("<h3>{family}</h3>\n"));
        }
        table(out, &cells, summary, by, open);
    }
    legend(out, by);
}

/// A table: rows and columns are read out with their headers, and every cell is a
/// link that a keyboard reaches.
fn table(
    out: &mut String,
    of_family: &[MatrixCell],
    summary: &RunSummary,
    by: MatrixBy,
    open: Option<&Pair>,
) {
    let mut names: Vec<&str> = of_family
        .iter()
        .flat_map(|cell| [cell.pair.from.as_str(), cell.pair.to.as_str()])
        .collect();
    names.sort_by(|a, b| natural_key(a).cmp(&natural_key(b)));
    names.dedup();
    let together = by_nodes(of_family);
    let cells: BTreeMap<(&str, &str), &MatrixCell> = together
        .iter()
        .map(|cell| ((cell.pair.from.as_str(), cell.pair.to.as_str()), cell))
        .collect();
    out.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Connectivity matrix\"><table class=\"heat\">\n<caption>Rows call, columns are called</caption>\n<thead><tr><td></td>");
    for name in &names {
        put(
            out,
            format_args!("<th scope=\"col\"><span>{}</span></th>", Escaped(name)),
        );
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for from in &names {
        put(
            out,
            format_args!("<tr><th scope=\"row\">{}</th>", Escaped(from)),
        );
        for to in &names {
            match cells.get(&(*from, *to)) {
                Some(cell) => show_cell(out, cell, summary, by, open == Some(&cell.pair)),
                None => out.push_str("<td class=\"self\"></td>"),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn show_cell(out: &mut String, cell: &MatrixCell, summary: &RunSummary, by: MatrixBy, open: bool) {
    let sign = match cell.observed {
        ObservedPath::Direct => "●",
        ObservedPath::Relayed => "◐",
        ObservedPath::None => "✕",
        ObservedPath::Unmeasured => "·",
    };
    let (class, shown) = match by {
        MatrixBy::Path => (cell.observed.to_string(), sign.to_owned()),
        MatrixBy::Latency => match cell.connect_ms {
            Some(ms) => (format!("ms-{}", step(ms)), format!("{ms:.0}")),
            None => ("unmeasured".into(), "–".into()),
        },
    };
    let prediction = match cell.predicted {
        Prediction::Always => "",
        Prediction::Sometimes => " sometimes",
        Prediction::Never => " never",
    };
    let tried = if cell.attempts == 0 {
        String::new()
    } else {
        format!("<small>{}/{}</small>", cell.successes, cell.attempts)
    };
    let trouble = if cell.attempts > 0 && cell.successes < cell.attempts {
        " trouble"
    } else {
        ""
    };
    put(
        out,
        format_args!(
            "<td class=\"{class}{prediction}{trouble}\"><a href=\"/matrix?run={}{}&amp;from={}&amp;to={}{}#cell\"{} \
             aria-label=\"{}: predicted {}, observed {}, {} of {} succeeded\"><b>{shown}</b>{tried}</a></td>",
            in_query(summary.run.as_str()),
            if by == MatrixBy::Latency {
                "&amp;by=latency"
            } else {
                ""
            },
            in_query(cell.pair.from.as_str()),
            in_query(cell.pair.to.as_str()),
            match cell.pair.family {
                Family::Ipv4 => "",
                Family::Ipv6 => "&amp;family=ipv6",
            },
            current(open),
            Escaped(&cell.pair.to_string()),
            cell.predicted,
            cell.observed,
            cell.successes,
            cell.attempts,
        ),
    );
}

/// 0 to 4, a doubling each.
fn step(ms: f64) -> usize {
    [50.0, 100.0, 200.0, 400.0]
        .iter()
        .filter(|bound| ms >= **bound)
        .count()
}

fn legend(out: &mut String, by: MatrixBy) {
    out.push_str(match by {
        MatrixBy::Path => {
            "<p class=\"legend\"><span class=\"direct\">● direct</span> <span class=\"relayed\">◐ relayed</span> \
             <span class=\"none\">✕ no path</span> <span class=\"unmeasured\">· not measured</span> \
             <span class=\"dashed\">dashed: theory says never</span></p>\n"
        }
        MatrixBy::Latency => {
            "<p class=\"legend\"><span class=\"ms-0\">under 50 ms</span> <span class=\"ms-1\">100</span> \
             <span class=\"ms-2\">200</span> <span class=\"ms-3\">400</span> <span class=\"ms-4\">more</span> \
             <span class=\"unmeasured\">– not measured</span></p>\n"
        }
    });
}
