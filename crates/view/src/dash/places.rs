//! The map: regions, the paths between them, and the same as a table.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use model::event::PlanNode;
use model::proof::Proof;
use model::publication::RunSummary;

use super::{in_query, put};
use crate::html::Escaped;
use crate::map::Traffic;
use crate::world::world;

pub fn places(summary: &RunSummary, proof: &Proof) -> String {
    let mut out = String::new();
    put(
        &mut out,
        format_args!(
            "<div class=\"headline\"><h1>Map</h1> <p class=\"state-word\"><a href=\"/runs/{}\">{}</a></p></div>\n",
            in_query(summary.run.as_str()),
            Escaped(summary.run.as_str())
        ),
    );
    picture(&mut out, proof);
    table(&mut out, proof);
    out
}

fn picture(out: &mut String, proof: &Proof) {
    out.push_str("<section class=\"card\" aria-label=\"Map\">\n");
    match world(proof) {
        Some(picture) => put(
            out,
            format_args!(
                "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Map of the world\">{picture}</div>\n\
                 <p class=\"legend\"><span class=\"direct\">— direct</span> <span class=\"relayed\">┄ relayed</span> \
                 <span class=\"none\">┄ no path</span> <span class=\"unmeasured\">— not measured</span> \
                 <span>worst path between two regions</span> <span>○ behind NATs only</span></p>\n"
            ),
        ),
        None => out.push_str("<p class=\"empty\">No region of this run has a place: <code>regions</code> of the inventory gives them one.</p>\n"),
    }
    let nowhere: Vec<&str> = proof
        .plan
        .nodes
        .iter()
        .filter(|node| node.tested && node.place.is_none())
        .map(|node| node.name.as_str())
        .collect();
    if !nowhere.is_empty() {
        put(
            out,
            format_args!(
                "<p class=\"hint\">Without a place: {}</p>\n",
                Escaped(&nowhere.join(", "))
            ),
        );
    }
    out.push_str("</section>\n");
}

/// What the picture shows, for those who cannot see it.
fn table(out: &mut String, proof: &Proof) {
    let region = |node: &PlanNode| match node.region.as_str() {
        "" => "no region".to_owned(),
        named => named.to_owned(),
    };
    let regions: BTreeMap<&str, String> = proof
        .plan
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), region(node)))
        .collect();
    let mut between: BTreeMap<(&str, &str), Traffic> = BTreeMap::new();
    for cell in &proof.matrix {
        let of = |name: &str| regions.get(name).map(String::as_str).unwrap_or_default();
        let (a, b) = (of(cell.pair.from.as_str()), of(cell.pair.to.as_str()));
        let traffic = between.entry((a.min(b), a.max(b))).or_default();
        traffic.add(cell.observed);
    }
    out.push_str("<section class=\"card\" aria-label=\"Between regions\"><div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Paths between regions\"><table class=\"between\"><thead><tr><th scope=\"col\">Between</th><th scope=\"col\" class=\"number\">Direct</th><th scope=\"col\" class=\"number\">Relayed</th><th scope=\"col\" class=\"number\">No path</th><th scope=\"col\" class=\"number\">Not measured</th></tr></thead><tbody>\n");
    // What somebody has to look at stands first.
    let mut rows: Vec<_> = between.into_iter().collect();
    rows.sort_by_key(|(_, seen)| Reverse((seen.none, seen.relayed, seen.unmeasured)));
    for ((a, b), seen) in rows {
        let name = if a == b {
            format!("within {a}")
        } else {
            format!("{a} – {b}")
        };
        put(
            out,
            format_args!("<tr><th scope=\"row\">{}</th>", Escaped(&name)),
        );
        let counts = [
            ("direct", seen.direct),
            ("relayed", seen.relayed),
            ("none", seen.none),
            ("unmeasured", seen.unmeasured),
        ];
        for (class, count) in counts {
            // A nought is no news.
            let class = if count == 0 { "nought" } else { class };
            put(
                out,
                format_args!("<td class=\"number {class}\">{count}</td>"),
            );
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></section>\n");
}
