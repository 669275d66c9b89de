//! A certificate as it is printed.

use std::fmt::Write;
use std::time::Duration;

use miette::IntoDiagnostic;
use model::family::Family;
use model::inventory::NodeName;
use model::nat::{Front, properties};

use super::verify::Measured;
use crate::screen::{Paint, Style};

pub fn render(all: &[Measured], family: Family, took: Duration, paint: Paint) -> String {
    let mut text = String::new();
    for measured in all {
        text.push_str(&one(measured, paint));
    }
    let right = all.iter().filter(|m| m.mismatch().is_none()).count();
    let style = if right == all.len() {
        Style::Good
    } else {
        Style::Bad
    };
    if !all.is_empty() {
        let what = match family {
            Family::Ipv4 => "NAT boxes are what their labels say",
            Family::Ipv6 => "nodes have the IPv6 firewall that they should",
        };
        let sum = format!("{right} of {} {what}", all.len());
        let _ = writeln!(
            text,
            "{}, in {:.1} s",
            paint.text(style, &sum),
            took.as_secs_f64()
        );
    }
    text
}

fn one(measured: &Measured, paint: Paint) -> String {
    let certificate = &measured.certificate;
    let mut text = String::new();
    let partial = if certificate.partial && certificate.front != Front::UdpBlocked {
        ", partial: one public address only"
    } else {
        ""
    };
    let verdict = match measured.mismatch() {
        None if measured.family == Family::Ipv6 => paint.text(Style::Good, "as it should be"),
        None => paint.text(Style::Good, "as labelled"),
        Some(mismatch) => paint.text(Style::Bad, &format!("NOT AS LABELLED: {mismatch}")),
    };
    let _ = writeln!(
        text,
        "{}  {}{partial}  {verdict}",
        paint.text(Style::Strong, measured.node.as_str()),
        certificate.describe(),
    );
    let is_told = measured.label.to_string() == model::nat::describe(measured.label.behaviour);
    if measured.family == Family::Ipv4 && !is_told {
        let _ = writeln!(text, "  {:<19}{}", "label", measured.label);
    }
    if let Some(inventory) = &measured.inventory {
        let _ = writeln!(
            text,
            "  {:<19}{inventory}; a run makes it that again",
            "inventory"
        );
    }
    for property in properties(&measured.seen, certificate) {
        let _ = writeln!(text, "  {:<19}{}", property.name, property.value);
        for sentence in property.shown_by {
            let _ = writeln!(text, "  {:<19}{}", "", paint.text(Style::Dim, &sentence));
        }
    }
    text.push('\n');
    text
}

pub fn json(
    measured: &[Measured],
    failed: &[(NodeName, miette::Report)],
) -> miette::Result<String> {
    let boxes = measured.iter().map(|m| {
        serde_json::json!({
            "node": m.node, "family": m.family, "label": m.label.to_string(), "spec": m.label,
            "inventory": m.inventory.map(|spec| spec.to_string()),
            "measured": m.certificate.describe(),
            "behaviour": m.certificate.behaviour().map(|b| b.to_string()),
            "as_labelled": m.mismatch().is_none(), "mismatch": m.mismatch(),
            "certificate": m.certificate,
            "properties": properties(&m.seen, &m.certificate),
        })
    });
    let failed = failed
        .iter()
        .map(|(node, error)| serde_json::json!({ "node": node, "error": error.to_string() }));
    let document = serde_json::json!({
        "boxes": boxes.collect::<Vec<_>>(), "failed": failed.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&document).into_diagnostic()
}
