//! Nodes by region, and the paths between regions.

use std::collections::BTreeMap;

use model::attempt::ObservedPath;
use model::proof::Proof;
use model::publication::RunSummary;

use super::{in_query, put};
use crate::html::Escaped;

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
    let regions: BTreeMap<&str, &str> = proof
        .plan
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.region.as_str()))
        .collect();
    table(&mut out, proof, &regions);
    out
}

/// What the picture shows, for those who cannot see it.
fn table(out: &mut String, proof: &Proof, regions: &BTreeMap<&str, &str>) {
    let mut between: BTreeMap<(&str, &str), [usize; 4]> = BTreeMap::new();
    for cell in &proof.matrix {
        let of = |name: &str| regions.get(name).copied().unwrap_or_default();
        let (a, b) = (of(cell.pair.from.as_str()), of(cell.pair.to.as_str()));
        let counts = between.entry((a.min(b), a.max(b))).or_default();
        counts[match cell.observed {
            ObservedPath::Direct => 0,
            ObservedPath::Relayed => 1,
            ObservedPath::None => 2,
            ObservedPath::Unmeasured => 3,
        }] += 1;
    }
    out.push_str("<section class=\"card\" aria-label=\"Between regions\"><div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Paths between regions\"><table><thead><tr><th scope=\"col\">Between</th><th scope=\"col\" class=\"number\">Direct</th><th scope=\"col\" class=\"number\">Relayed</th><th scope=\"col\" class=\"number\">No path</th><th scope=\"col\" class=\"number\">Not measured</th></tr></thead><tbody>\n");
    for ((a, b), counts) in between {
        put(
            out,
            format_args!("<tr><th scope=\"row\">{} – {}</th>", Escaped(a), Escaped(b)),
        );
        for count in counts {
            put(out, format_args!("<td class=\"number\">{count}</td>"));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></section>\n");
}
