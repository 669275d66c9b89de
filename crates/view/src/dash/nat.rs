//! The certificates: what each NAT is said to be, what it was measured to be, and
//! the probes that show it.

use model::proof::Proof;
use model::publication::RunSummary;

use super::{in_query, put};
use crate::html::Escaped;

pub fn nat(summary: &RunSummary, proof: &Proof) -> String {
    let mut out = String::new();
    put(
        &mut out,
        format_args!(
            "<div class=\"headline\"><h1>NAT</h1> <p class=\"state-word\"><a href=\"/runs/{}\">{}</a></p></div>\n<div class=\"grid\">\n",
            in_query(summary.run.as_str()),
            Escaped(summary.run.as_str())
        ),
    );
    let fronts = proof.nodes.iter().flat_map(|node| {
        let fronts = node.fronts().into_iter();
        fronts.map(move |(title, nat)| (node, title, nat))
    });
    let boxes: Vec<_> = fronts.collect();
    for (node, title, nat) in &boxes {
        let (class, word) = match (nat.measured == nat.labelled, nat.measured.as_str()) {
            (_, "not measured") => ("open", "not measured"),
            (true, _) => ("pass", "as labelled"),
            (false, _) => ("fail", "not as labelled"),
        };
        put(
            &mut out,
            format_args!(
                "<section class=\"card\" aria-label=\"{0}\"><div class=\"headline\"><h2><a href=\"/nodes/{1}\">{0}</a></h2> <span class=\"badge {class}\">{word}</span></div>\n\
                 <dl class=\"pairs\"><div><dt>Labelled</dt><dd>{2}</dd></div><div><dt>Measured</dt><dd>{3}</dd></div></dl>\n<ul class=\"evidence\">\n",
                Escaped(title),
                in_query(node.name.as_str()),
                Escaped(&nat.labelled),
                Escaped(&nat.measured),
            ),
        );
        for line in &nat.evidence {
            put(&mut out, format_args!("<li>{}</li>\n", Escaped(line)));
        }
        out.push_str("</ul></section>\n");
    }
    out.push_str("</div>\n");
    if boxes.is_empty() {
        out.push_str("<p class=\"empty\">No node of this run is behind a NAT.</p>\n");
    }
    out
}
