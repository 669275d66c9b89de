//! What the network between the hosts was set to, beside what it was measured to be.

use model::link::{LinkMeasured, RoundTrip};
use model::proof::Proof;

use super::section;
use crate::html::{Escaped, put};

pub fn network(out: &mut String, proof: &Proof) {
    if proof.links.is_empty() {
        return;
    }
    let is_set = proof.links.iter().any(|link| link.set.is_some());
    section(
        out,
        "Network between the hosts",
        if is_set {
            "round trips as they were set, and as they were measured before the last TEST"
        } else {
            "round trips as they were measured before the last TEST; nobody sets them here"
        },
    );
    let wrong = proof.links.iter().any(|link| link.mismatch.is_some());
    put!(
        out,
        "<p>{}</p>\n<details{}>\n<summary>{} classes of pairs that are set alike</summary>\n<table class=\"dense network\">\n\
         <thead><tr><th scope=\"col\">Pair</th><th scope=\"col\" class=\"number\">Like it</th>",
        conclusion(&proof.links, is_set),
        if wrong { " open" } else { "" },
        proof.links.len()
    );
    for what in ["Delay", "Jitter", "Loss", "Rate"] {
        if is_set {
            put!(
                out,
                "<th scope=\"col\" class=\"number set\">{what} set</th>"
            );
        }
        put!(out, "<th scope=\"col\" class=\"number\">{what}</th>");
    }
    out.push_str("<th scope=\"col\">As set</th></tr></thead>\n<tbody>\n");
    proof.links.iter().for_each(|link| row(out, link, is_set));
    out.push_str("</tbody></table>\n</details>\n</section>\n");
}

/// For whoever does not open the table.
fn conclusion(links: &[LinkMeasured], is_set: bool) -> String {
    let pairs: usize = links.iter().map(|link| link.like_it).sum();
    let wrong = links.iter().filter(|link| link.mismatch.is_some()).count();
    let off = links.iter().filter_map(|link| {
        let (set, measured) = (link.set?, link.measured?);
        Some((measured.delay_ms - set.delay_ms).abs())
    });
    match (is_set, wrong) {
        (false, _) => format!("{pairs} pairs, which nobody sets."),
        (true, 0) => format!(
            "{pairs} pairs are as they were set: no round trip is off by more than {:.1} ms.",
            off.fold(0.0, f64::max)
        ),
        (true, wrong) => format!("{wrong} of {} are not as they were set.", links.len()),
    }
}

fn row(out: &mut String, link: &LinkMeasured, is_set: bool) {
    put!(
        out,
        "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td>",
        Escaped(&link.pair.to_string()),
        link.like_it
    );
    let parts: [fn(&RoundTrip) -> String; 4] = [
        |trip| format!("{:.1} ms", trip.delay_ms),
        |trip| format!("{:.1} ms", trip.jitter_ms),
        |trip| format!("{:.1}%", trip.loss_percent),
        |trip| match trip.rate_mbit {
            Some(rate) => format!("{rate:.1} Mbit/s"),
            None => "–".into(),
        },
    ];
    for part in parts {
        let say = |side: &Option<RoundTrip>| side.as_ref().map_or("–".into(), part);
        if is_set {
            put!(out, "<td class=\"number set\">{}</td>", say(&link.set));
        }
        put!(out, "<td class=\"number\">{}</td>", say(&link.measured));
    }
    match (&link.mismatch, &link.set) {
        (Some(mismatch), _) => {
            put!(out, "<td class=\"differs\">≠ {}</td>", Escaped(mismatch));
        }
        (None, Some(_)) => out.push_str("<td class=\"agrees\">✓</td>"),
        (None, None) => out.push_str("<td>–</td>"),
    }
    out.push_str("</tr>\n");
}
