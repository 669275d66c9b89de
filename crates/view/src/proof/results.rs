//! What was judged, and what was seen.

use std::collections::BTreeMap;

use model::cells::samples;
use model::family::Family;
use model::proof::{CriterionResult, MatrixCell, Proof};

use super::{chip, section};
use crate::by_nodes::by_family;
use crate::html::{Escaped, put};
use crate::interval::{interval, rate, trend};
use crate::map::Traffic;
use crate::matrix::{connect_times, matrix};
use crate::timeline::timeline;
use crate::world::world;

pub fn criteria(out: &mut String, proof: &Proof) {
    section(
        out,
        "Criteria",
        "a sequential test of the target against the target less its margin",
    );
    out.push_str("<div class=\"criteria\">\n");
    for criterion in &proof.criteria {
        one_criterion(out, criterion);
    }
    out.push_str("</div>\n<p class=\"note\">The dot is the rate in the sample, the bar its 95% Clopper–Pearson interval, the dashed line the target. A true rate in the red zone is refused. The test decides, not the interval.</p>\n</section>\n");
}

fn one_criterion(out: &mut String, c: &CriterionResult) {
    put!(
        out,
        "<article>\n<h3>{} {}</h3>\n",
        Escaped(&c.name),
        chip(c.verdict)
    );
    match c.interval {
        Some([low, high]) => put!(
            out,
            "<p class=\"rate\"><b>{:.1}%</b> <span>{} of {}</span> <small>95% [{low:.1}, {high:.1}]</small></p>\n",
            rate(c),
            c.successes,
            c.attempts
        ),
        None => out.push_str("<p class=\"rate\"><b>no data</b></p>\n"),
    }
    out.push_str(&interval(c));
    put!(
        out,
        "<p>target {}% − {}: {}",
        c.target,
        c.margin,
        Escaped(&c.reason)
    );
    if c.infrastructure_failures > 0 {
        put!(
            out,
            "; {} infrastructure failures apart",
            c.infrastructure_failures
        );
    }
    out.push_str("</p>\n</article>\n");
}

/// Theory, what the inventory expects, and what was observed, by behaviours.
pub fn behaviours(out: &mut String, proof: &Proof) {
    if proof.behaviours.is_empty() {
        return;
    }
    section(
        out,
        "NAT behaviours",
        "callers and callees by what their NATs are; expected is what the inventory says of the harder one",
    );
    out.push_str("<table>\n<thead><tr><th scope=\"col\">Caller</th><th scope=\"col\">Callee</th><th scope=\"col\">Path by theory</th><th scope=\"col\" class=\"number\">Expected</th><th scope=\"col\">Observed, 95% interval</th></tr></thead>\n<tbody>\n");
    for pair in &proof.behaviours {
        put!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{}</td><td>{}</td></tr>\n",
            Escaped(&pair.caller),
            Escaped(&pair.callee),
            pair.predicted,
            pair.expected.map_or_else(String::new, |p| format!("{p}%")),
            Escaped(&pair.to_string()),
        );
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
}

pub fn matrices(out: &mut String, proof: &Proof) {
    section(
        out,
        "Matrix",
        "callers down, callees across; colour is the path that counted packets took",
    );
    for (family, cells) in by_family(&proof.matrix) {
        if family == Family::Ipv6 {
            put!(out, "<h3>{family}</h3>\n");
        }
        figures(out, &cells);
    }
    for sample in samples(&proof.plan) {
        put!(out, "<p>Tried: {}.</p>\n", Escaped(&sample));
    }
    agreement(out, proof);
    out.push_str("</section>\n");
}

fn figures(out: &mut String, cells: &[MatrixCell]) {
    put!(
        out,
        "<div class=\"figures\">\n<figure>{}<figcaption>Path of the first attempt, and successes of attempts. The strip is what theory predicted.</figcaption></figure>\n\
         <figure>{}<figcaption>Milliseconds to connect, where no more than four attempts ran at once.</figcaption></figure>\n</div>\n",
        matrix(cells),
        connect_times(cells)
    );
}

/// Predicted beside observed, in numbers.
fn agreement(out: &mut String, proof: &Proof) {
    let mut counts: BTreeMap<(String, String), Traffic> = BTreeMap::new();
    for cell in &proof.matrix {
        let criterion = cell.pair.family.measure(&cell.category.to_string());
        let key = (criterion, cell.predicted.to_string());
        counts.entry(key).or_default().add(cell.observed);
    }
    out.push_str("<table>\n<thead><tr><th scope=\"col\">Category</th><th scope=\"col\">Theory</th><th scope=\"col\" class=\"number\">direct</th><th scope=\"col\" class=\"number\">relayed</th><th scope=\"col\" class=\"number\">no path</th><th scope=\"col\" class=\"number\">not measured</th></tr></thead>\n<tbody>\n");
    for ((category, predicted), seen) in &counts {
        put!(
            out,
            "<tr><td>{category}</td><td>{predicted}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
            seen.direct,
            seen.relayed,
            seen.none,
            seen.unmeasured
        );
    }
    out.push_str("</tbody></table>\n");
}

/// Nothing where no region has a place.
pub fn map(out: &mut String, proof: &Proof) {
    let Some(picture) = world(proof) else { return };
    section(
        out,
        "Map",
        "regions joined by the worst path between them; a ring is a region behind NATs only",
    );
    put!(out, "<figure class=\"world\">{picture}</figure>\n");
    out.push_str("<p class=\"keys\"><span class=\"direct\">— direct</span> <span class=\"relayed\">┄ relayed</span> <span class=\"none\">┄ no path</span> <span class=\"unmeasured\">— not measured</span></p>\n</section>\n");
}

pub fn course(out: &mut String, proof: &Proof) {
    section(
        out,
        "Course of the run",
        "every state it was in; times are UTC",
    );
    out.push_str(&timeline(
        &proof.timeline,
        &proof.passes,
        Some(proof.ended_at),
    ));
    out.push_str("</section>\n");
    if proof.passes.len() < 2 {
        return;
    }
    section(
        out,
        "Soak",
        "every criterion in every TEST, each judged on its own attempts",
    );
    out.push_str("<div class=\"trends\">\n");
    for criterion in &proof.criteria {
        put!(
            out,
            "<figure>{}<figcaption>{}</figcaption></figure>\n",
            trend(&criterion.name, &proof.passes),
            Escaped(&criterion.name)
        );
    }
    out.push_str("</div>\n<ol class=\"passes\">\n");
    for pass in &proof.passes {
        put!(
            out,
            "<li>{} cycle {}, pass {}: {} {}</li>\n",
            pass.at.strftime("%Y-%m-%d %H:%M:%S"),
            pass.cycle,
            pass.pass,
            chip(pass.verdict),
            Escaped(&pass.summary)
        );
    }
    out.push_str("</ol>\n</section>\n");
}
