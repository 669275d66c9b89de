//! Every attempt; those that failed with all that is known about them.

use model::attempt::{Attempt, Counted, Matrix, RungRecord};
use model::judge;
use model::proof::Proof;

use super::section;
use crate::html::{Escaped, put};
use crate::quantity::bytes;

/// More would make a page that nobody reads; `proof.json` has all.
const FAILING_SHOWN: usize = 60;
const SHOWN: usize = 1000;

pub fn failing(out: &mut String, proof: &Proof) {
    let failed: Vec<&Attempt> = proof
        .attempts
        .iter()
        .filter(|a| a.start.matrix == Matrix::Stack && a.verdict() != Counted::Success)
        .collect();
    if failed.is_empty() {
        return;
    }
    section(
        out,
        "Attempts that did not count as successes",
        "with every rung that was tried",
    );
    put!(
        out,
        "<p class=\"note\"><code>vps-test repro {} ATTEMPT --run</code> tries one again on the smallest twin.</p>\n",
        Escaped(&proof.project)
    );
    out.push_str("<div class=\"failing\">\n");
    failed
        .iter()
        .take(FAILING_SHOWN)
        .for_each(|a| story(out, a, &captures_of(proof, a)));
    out.push_str("</div>\n");
    rest(out, failed.len(), FAILING_SHOWN);
    out.push_str("</section>\n");
}

fn rest(out: &mut String, all: usize, shown: usize) {
    if all > shown {
        put!(
            out,
            "<p class=\"note\">{} more are in <code>proof.json</code>.</p>\n",
            all - shown
        );
    }
}

/// Packets of this attempt, as paths in the run directory.
fn captures_of<'a>(proof: &'a Proof, a: &Attempt) -> Vec<&'a str> {
    let of_it = |path: &&str| path.split('/').any(|part| part == a.start.id.0);
    let all = proof.evidence.captures.iter().map(String::as_str);
    all.filter(of_it).collect()
}

fn story(out: &mut String, a: &Attempt, captures: &[&str]) {
    let class = match a.verdict() {
        Counted::Infrastructure => "inconclusive",
        Counted::Success | Counted::Failure => "fail",
    };
    let why = judge::why(a).unwrap_or_default();
    put!(
        out,
        "<article class=\"{class}\">\n<h3>{} <small>{} · theory: {} · <code>{}</code></small></h3>\n<p class=\"why\">{}</p>\n",
        Escaped(&a.start.cell.pair.to_string()),
        a.start.cell.category,
        a.start.cell.predicted,
        Escaped(&a.start.id.0),
        Escaped(&why),
    );
    let explained = a.explanation.as_ref();
    if let Some(other) = explained.map(|e| &e.sentence).filter(|said| **said != why) {
        put!(out, "<p>{}</p>\n", Escaped(other));
    }
    if let Some(explained) = explained.filter(|e| !e.seen.is_empty()) {
        put!(
            out,
            "<details class=\"note\">\n<summary>what was counted: {} flows</summary>\n<ul class=\"seen\">\n",
            explained.seen.len()
        );
        for line in &explained.seen {
            put!(out, "<li>{}</li>\n", Escaped(line));
        }
        out.push_str("</ul>\n</details>\n");
    }
    if !a.rungs.is_empty() {
        out.push_str("<ol class=\"rungs\">\n");
        a.rungs.iter().for_each(|r| rung(out, r));
        out.push_str("</ol>\n");
    }
    put!(
        out,
        "<p class=\"note\">observed {}{}, {} forth and {} back; claimed {}</p>\n",
        a.observed.path,
        a.observed
            .via
            .map(|via| format!(" via {via}"))
            .unwrap_or_default(),
        bytes(a.observed.forth_bytes as f64),
        bytes(a.observed.back_bytes as f64),
        a.claimed
    );
    let list = |addresses: &[std::net::SocketAddr]| {
        let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        if words.is_empty() {
            "–".to_owned()
        } else {
            words.join(", ")
        }
    };
    put!(
        out,
        "<p class=\"note\">caller {}; callee {}</p>\n",
        list(&a.endpoints.caller),
        list(&a.endpoints.callee)
    );
    if !captures.is_empty() {
        let files: Vec<&str> = captures
            .iter()
            .filter_map(|path| path.rsplit('/').next())
            .collect();
        put!(
            out,
            "<p class=\"note\">packets in <code>captures/{}/</code>: {}</p>\n",
            Escaped(&a.start.id.0),
            Escaped(&files.join(", ").replace(".pcapng", ""))
        );
    }
    out.push_str("</article>\n");
}

fn rung(out: &mut String, r: &RungRecord) {
    let (class, what) = match &r.failure {
        None => ("pass", "connected".to_owned()),
        Some(failure) => ("fail", failure.to_string()),
    };
    let share = (r.elapsed_ms / r.timeout_ms.max(1) as f64).clamp(0.01, 1.0);
    put!(
        out,
        "<li class=\"{class}\"><b>{}</b> <svg viewBox=\"0 0 60 6\" width=\"60\" height=\"6\" aria-hidden=\"true\"><rect class=\"whole\" width=\"60\" height=\"6\"/><rect class=\"part\" width=\"{:.1}\" height=\"6\"/></svg> {:.0} of {} ms: {}</li>\n",
        r.rung,
        60.0 * share,
        r.elapsed_ms,
        r.timeout_ms,
        Escaped(&what)
    );
}

pub fn all(out: &mut String, proof: &Proof) {
    let stack: Vec<&Attempt> = proof
        .attempts
        .iter()
        .filter(|a| a.start.matrix == Matrix::Stack)
        .collect();
    section(
        out,
        "Attempts",
        "all of the stack's, in the order in which they ended",
    );
    put!(
        out,
        "<details>\n<summary>{} attempts</summary>\n<table class=\"dense\">\n<thead><tr><th scope=\"col\">Attempt</th><th scope=\"col\">From → to</th><th scope=\"col\">Category</th><th scope=\"col\">Outcome</th><th scope=\"col\">Observed</th><th scope=\"col\">Claimed</th><th scope=\"col\" class=\"number\">Connect</th><th scope=\"col\" class=\"number\">At once</th></tr></thead>\n<tbody>\n",
        stack.len()
    );
    for a in stack.iter().take(SHOWN) {
        row(out, a);
    }
    out.push_str("</tbody></table>\n");
    rest(out, stack.len(), SHOWN);
    out.push_str("</details>\n</section>\n");
}

fn row(out: &mut String, a: &Attempt) {
    let (class, word) = match a.verdict() {
        Counted::Success => ("pass", "success"),
        Counted::Failure => ("fail", "failure"),
        Counted::Infrastructure => ("inconclusive", "infrastructure"),
    };
    put!(
        out,
        "<tr class=\"{class}\"><td><code>{}</code></td><td>{}</td><td>{}</td><td class=\"outcome\">{word}</td><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
        Escaped(&a.start.id.0),
        Escaped(&a.start.cell.pair.to_string()),
        a.start.cell.category,
        a.observed.path,
        a.claimed,
        a.connect_ms
            .map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0} ms")),
        a.at_once
    );
}
