//! What suites measured, in tables.

use std::collections::BTreeMap;

use model::attempt::Pair;
use model::measure::summary::{Summary, number};
use model::measure::{Kind, Measured, Values};
use model::proof::Proof;
use model::suite::THROUGHPUT;

use super::section;
use crate::html::{Escaped, put};

pub fn measures(out: &mut String, proof: &Proof) {
    let taken: Vec<&Summary> = proof.measures.iter().filter(|m| m.values > 0).collect();
    if taken.is_empty() {
        return;
    }
    section(out, "Measures", "all values of the last TEST, by suite");
    out.push_str("<table>\n<thead><tr><th scope=\"col\">Suite</th><th scope=\"col\">Measure</th><th scope=\"col\" class=\"number\">Values</th><th scope=\"col\" class=\"number\">Rate or median</th><th scope=\"col\" class=\"number\">95% interval</th><th scope=\"col\" class=\"number\">p95</th><th scope=\"col\" class=\"number\">Between conditions</th><th scope=\"col\">How it is taken</th></tr></thead>\n<tbody>\n");
    for summary in taken {
        row(out, proof, summary);
    }
    out.push_str("</tbody>\n</table>\n<p class=\"note\">Between conditions: the lowest and the highest rate or median among the sets of conditions that values were taken under. Every value with its conditions is in proof.json, what each measure cannot see in its plan.</p>\n</section>\n");
}

fn row(out: &mut String, proof: &Proof, summary: &Summary) {
    let values = match (summary.kind, summary.successes) {
        (Kind::Rate, Some(successes)) => format!("{successes} of {}", summary.values),
        _ => summary.values.to_string(),
    };
    let range = |range: Option<[f64; 2]>| match range {
        Some([low, high]) => format!("{} to {}", number(low), number(high)),
        None => String::new(),
    };
    let among = match summary.between {
        Some(between) => format!("{} ({})", range(Some(between)), summary.conditions),
        None => String::new(),
    };
    let suite = proof.plan.suites.iter().find(|s| s.name == summary.suite);
    let def = suite.and_then(|s| s.measures.iter().find(|m| m.name == summary.measure));
    put!(
        out,
        "<tr><td>{}</td><td>{}</td><td class=\"number\">{values}</td><td class=\"number\">{} {}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{among}</td><td>{}</td></tr>\n",
        Escaped(summary.suite.as_str()),
        Escaped(&summary.measure),
        summary.estimate.map_or_else(String::new, number),
        summary.unit,
        range(summary.interval),
        summary.p95.map_or_else(String::new, number),
        Escaped(def.map_or("", |def| def.how.as_str())),
    );
}

/// One transfer after the other, beside what plain TCP and UDP reached.
pub fn throughput(out: &mut String, proof: &Proof) {
    let last = proof.measured.iter().map(|m| (m.cycle, m.pass)).max();
    let ours: Vec<&Measured> = proof
        .measured
        .iter()
        .filter(|m| m.suite.as_str() == THROUGHPUT && Some((m.cycle, m.pass)) == last)
        .collect();
    if ours.is_empty() {
        return;
    }
    section(
        out,
        "Throughput",
        "up is from the caller to the callee; the ceiling is the better of plain TCP and UDP",
    );
    out.push_str("<table>\n<thead><tr><th scope=\"col\">Pair</th><th scope=\"col\" class=\"number\">Round trip, ms</th><th scope=\"col\">Path</th><th scope=\"col\">Direction</th><th scope=\"col\" class=\"number\">Streams</th><th scope=\"col\" class=\"number\">Mbit/s</th><th scope=\"col\" class=\"number\">Ceiling</th><th scope=\"col\" class=\"number\">Of it</th><th scope=\"col\" class=\"number\">Lost packets</th><th scope=\"col\" class=\"number\">CPU s/Gbit, sender</th><th scope=\"col\" class=\"number\">receiver</th></tr></thead>\n<tbody>\n");
    let ceilings = ceilings(&ours);
    for (transfer, values) in transfers(&ours) {
        transfer_row(out, &transfer, &values, &ceilings);
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
}

/// Where values of one transfer belong: pair, round and conditions but for the end.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Transfer<'a> {
    pair: Pair,
    round: u32,
    path: &'a str,
    streams: &'a str,
    direction: &'a str,
    round_trip: &'a str,
}

/// A measure, and which end of the connection it is of.
type Key<'a> = (&'a str, &'a str);

fn transfers<'a>(ours: &[&'a Measured]) -> BTreeMap<Transfer<'a>, BTreeMap<Key<'a>, String>> {
    let mut all: BTreeMap<Transfer<'_>, BTreeMap<Key<'_>, String>> = BTreeMap::new();
    for measured in ours.iter().filter(|m| m.measure != "ceiling_mbit") {
        let Some((transfer, end)) = transfer_of(measured) else {
            continue;
        };
        let said = match &measured.values {
            Values::Samples(values) => values.last().copied().map_or_else(String::new, number),
            Values::Outcomes(_) => measured.detail.clone().unwrap_or_default(),
        };
        let values = all.entry(transfer).or_default();
        values.insert((measured.measure.as_str(), end), said);
    }
    all
}

fn transfer_of(measured: &Measured) -> Option<(Transfer<'_>, &str)> {
    let condition = |name: &str| measured.conditions.get(name).map_or("", String::as_str);
    let transfer = Transfer {
        pair: Pair::of_nodes(measured.from.clone()?, measured.to.clone()?),
        round: measured.round,
        path: condition("path"),
        streams: condition("streams"),
        direction: condition("direction"),
        round_trip: condition("rtt_ms"),
    };
    Some((transfer, condition("end")))
}

/// By pair, round and direction.
fn ceilings<'a>(ours: &[&'a Measured]) -> BTreeMap<(Pair, u32, &'a str), f64> {
    let mut best = BTreeMap::new();
    for measured in ours.iter().filter(|m| m.measure == "ceiling_mbit") {
        if let (Some((transfer, _)), Values::Samples(values)) =
            (transfer_of(measured), &measured.values)
        {
            let known: &mut f64 = best
                .entry((transfer.pair, transfer.round, transfer.direction))
                .or_default();
            *known = values.iter().copied().fold(*known, f64::max);
        }
    }
    best
}

fn transfer_row(
    out: &mut String,
    transfer: &Transfer<'_>,
    values: &BTreeMap<Key<'_>, String>,
    ceilings: &BTreeMap<(Pair, u32, &str), f64>,
) {
    let value = |measure, end| values.get(&(measure, end)).map_or("", String::as_str);
    put!(
        out,
        "<tr><td class=\"pair\">{}</td><td class=\"number\">{}</td><td>{}</td>",
        Escaped(&transfer.pair.to_string()),
        Escaped(transfer.round_trip),
        Escaped(transfer.path),
    );
    let failed = value("carried", "");
    if !failed.is_empty() {
        put!(
            out,
            "<td>{}</td><td class=\"number\">{}</td><td colspan=\"6\">{}</td></tr>\n",
            Escaped(transfer.direction),
            Escaped(transfer.streams),
            Escaped(failed)
        );
        return;
    }
    let key = (transfer.pair.clone(), transfer.round, transfer.direction);
    let ceiling = ceilings.get(&key).filter(|_| transfer.path == "direct");
    let share = value("of_ceiling", "");
    put!(
        out,
        "<td>{}</td><td class=\"number\">{}</td><td class=\"number\"><b>{}</b></td><td class=\"number\">{}</td><td class=\"number\">{share}{}</td><td class=\"number\">{}%</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
        Escaped(transfer.direction),
        Escaped(transfer.streams),
        value("goodput_mbit", ""),
        ceiling.map_or_else(String::new, |mbit| number(*mbit)),
        if share.is_empty() { "" } else { "%" },
        value("lost_packets", ""),
        value("cpu_s_per_gbit", "sender"),
        value("cpu_s_per_gbit", "receiver"),
    );
}
