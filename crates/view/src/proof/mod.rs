//! `proof.html`: one file that stands alone, for somebody who was not there.
//!
//! The verdict comes first, then what it rests on, then everything that it could
//! be doubted with. No script, nothing from elsewhere; it prints.

mod attempts;
mod ground;
mod measures;
mod network;
mod results;

use model::attempt::Matrix;
use model::event::Decision;
use model::proof::Proof;
use model::stats::Verdict;

use crate::html::{Escaped, Page, Style, put};
use crate::interval::class;
use crate::quantity::span;

const STYLE: &str = include_str!("proof.css");

/// The whole document.
pub fn proof(proof: &Proof) -> String {
    let mut body = String::new();
    header(&mut body, proof);
    body.push_str("<main>\n");
    results::criteria(&mut body, proof);
    findings(&mut body, proof);
    results::behaviours(&mut body, proof);
    measures::measures(&mut body, proof);
    measures::throughput(&mut body, proof);
    results::matrices(&mut body, proof);
    attempts::failing(&mut body, proof);
    results::map(&mut body, proof);
    results::course(&mut body, proof);
    network::network(&mut body, proof);
    ground::nats(&mut body, proof);
    ground::nodes(&mut body, proof);
    ground::built(&mut body, proof);
    ground::environment(&mut body, proof);
    ground::evidence(&mut body, proof);
    attempts::all(&mut body, proof);
    body.push_str("</main>\n");
    footer(&mut body, proof);
    let title = format!("{} {} {}: proof", proof.project, proof.focus, proof.verdict);
    Page {
        script: None,
        title: &title,
        style: Style::Inline(STYLE),
        refresh_seconds: None,
        body: &body,
    }
    .to_string()
}

fn header(out: &mut String, proof: &Proof) {
    let plan = &proof.plan;
    put!(
        out,
        "<header class=\"verdict {}\">\n<p class=\"what\">Test proof · {} · {} · fleet {} on {}</p>\n\
         <h1><span class=\"word\">{}</span> {}</h1>\n",
        class(proof.verdict),
        Escaped(&proof.project),
        Escaped(&proof.focus),
        Escaped(&plan.fleet),
        Escaped(&plan.runs_on),
        proof.verdict,
        Escaped(&sentence(&proof.summary)),
    );
    out.push_str("<dl class=\"facts\">\n");
    let lasted = proof.ended_at.duration_since(proof.started_at);
    fact(
        out,
        "began",
        &proof
            .started_at
            .strftime("%Y-%m-%d %H:%M:%S UTC")
            .to_string(),
    );
    fact(out, "lasted", &span(lasted.as_secs_f64()));
    fact(out, "state", &proof.state);
    let tried = proof
        .attempts
        .iter()
        .filter(|a| a.start.matrix == Matrix::Stack);
    fact(out, "attempts", &tried.count().to_string());
    let reached = proof
        .nodes
        .iter()
        .filter(|n| n.reached == "reached")
        .count();
    fact(out, "nodes", &format!("{reached} of {}", proof.nodes.len()));
    if let Some(stack) = proof.nodes.iter().find_map(|n| n.stack.as_deref()) {
        fact(out, "stack", stack);
    }
    if let Some(reviewed) = &proof.review {
        let word = match reviewed.review.decision {
            Decision::Confirmed => "confirmed by",
            Decision::Rejected => "rejected by",
        };
        let who = format!(
            "{}, {}, from the {}",
            reviewed.review.by,
            reviewed.at.strftime("%Y-%m-%d %H:%M UTC"),
            reviewed.review.via
        );
        fact(out, word, &who);
        // A rejection's reason is the headline.
        if let (Decision::Confirmed, Some(remark)) =
            (reviewed.review.decision, &reviewed.review.reason)
        {
            fact(out, "who remarked", remark);
        }
    }
    out.push_str("</dl>\n</header>\n");
}

fn fact(out: &mut String, name: &str, value: &str) {
    put!(
        out,
        "<div><dt>{name}</dt><dd>{}</dd></div>\n",
        Escaped(value)
    );
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

fn findings(out: &mut String, proof: &Proof) {
    if proof.findings.is_empty() {
        return;
    }
    section(
        out,
        "Findings",
        "what no criterion judges, and a reader should know",
    );
    out.push_str("<ul class=\"findings\">\n");
    for (finding, times) in counted(&proof.findings) {
        let again = if times > 1 {
            format!(" <small>in {times} TESTs</small>")
        } else {
            String::new()
        };
        put!(out, "<li>{}{again}</li>\n", Escaped(finding));
    }
    out.push_str("</ul>\n</section>\n");
}

/// What was found in every TEST of a soak is said once.
fn counted(findings: &[String]) -> Vec<(&str, usize)> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for finding in findings {
        match counted.iter_mut().find(|(known, _)| *known == finding) {
            Some((_, times)) => *times += 1,
            None => counted.push((finding, 1)),
        }
    }
    counted
}

fn footer(out: &mut String, proof: &Proof) {
    put!(
        out,
        "<footer>Every figure here follows from the {} entries of <code>journal.jsonl</code> beside this page. \
         Head of its chain: <code>{}</code></footer>\n",
        proof.journal.entries,
        Escaped(&proof.journal.head)
    );
}

/// Opens a section; `</section>` closes it.
fn section(out: &mut String, title: &str, why: &str) {
    put!(out, "<section>\n<h2>{title} <small>{why}</small></h2>\n");
}

fn chip(verdict: Verdict) -> String {
    format!("<span class=\"chip {}\">{verdict}</span>", class(verdict))
}

/// A digest as people compare them, whole for those who copy it.
fn digest(whole: &str) -> String {
    let shown: String = whole.chars().take(16).collect();
    format!(
        "<code title=\"{}\">{}</code>",
        Escaped(whole),
        Escaped(&shown)
    )
}

#[cfg(test)]
pub(crate) mod tests;
