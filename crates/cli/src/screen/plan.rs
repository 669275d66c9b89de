//! The plan before it is run, in the request's form.

use std::fmt::Write;

use model::cells::samples;
use model::config::{Choice, Config};
use model::event::{Plan, PlanNode};
use model::suite::told_apart;

use super::grid::nat_word;
use super::paint::{Paint, Style};
use super::time::span;
use crate::interview::{Answer, Answers};

pub fn render(plan: &Plan, answers: &Answers, config: &Config, paint: Paint) -> String {
    let mut out = format!(
        "\n{}\n=================\n",
        paint.text(Style::Strong, "Test Plan Summary")
    );
    let project = &answers.project;
    let _ = writeln!(out, "Project: {} ({})", plan.project, project.origin);
    let _ = writeln!(out, "Focus: {}", focus(&answers.focus, plan));
    let _ = writeln!(out, "Success: {}", meaning(&answers.criteria));
    for criterion in &plan.criteria {
        let all = plan.criteria.iter().map(|c| (&c.suite, c.name.as_str()));
        let _ = writeln!(
            out,
            "  - {} {}% (margin {})",
            told_apart(&criterion.suite, &criterion.name, all),
            criterion.target,
            criterion.margin
        );
    }
    for expression in &plan.expressions {
        let _ = writeln!(out, "  - {expression}");
    }
    if let Some(baseline) = &plan.baseline {
        let _ = writeln!(
            out,
            "  - better than run {} by more than {}, worse by no more than {}",
            baseline.run, baseline.margin, baseline.tolerance
        );
    }
    let _ = writeln!(out, "Proof: {}", meaning(&answers.proof));
    nodes(&mut out, plan);
    let _ = writeln!(out, "\nRuns on: {}, fleet {}", plan.runs_on, plan.fleet);
    let _ = writeln!(out, "Binary source: {}", source(config, plan));
    if let Some(stack) = &plan.stack {
        let dirty = if stack.dirty_sha256.is_some() {
            ", with uncommitted changes"
        } else {
            ""
        };
        let _ = writeln!(out, "Stack: {} from {}{dirty}", stack.name, stack.given);
    }
    for sample in samples(plan) {
        let _ = writeln!(out, "Sample: {sample}");
    }
    let _ = writeln!(out, "Soak: {}", soak(plan));
    out.push('\n');
    out
}

/// `Connection matrix (direct, NAT, relay): connectivity (from parameter)`
fn meaning<T: Choice + PartialEq>(answer: &Answer<T>) -> String {
    let found = T::ALL.iter().find(|(value, ..)| *value == answer.value);
    let (word, means) = found.map_or(("", ""), |(_, word, means)| (*word, *means));
    format!("{word}: {means} ({})", answer.origin)
}

fn focus(answer: &Answer<String>, plan: &Plan) -> String {
    let does: Vec<&str> = plan.suites.iter().map(|s| s.does.as_str()).collect();
    format!("{}: {} ({})", answer.value, does.join("; "), answer.origin)
}

fn source(config: &Config, plan: &Plan) -> String {
    let module = config.module_of(&plan.project);
    module.map_or_else(String::new, |(_, module)| config.build.source(module))
}

fn nodes(out: &mut String, plan: &Plan) {
    let tested = || plan.nodes.iter().filter(|n| n.tested);
    let names = |nodes: &mut dyn Iterator<Item = &PlanNode>| {
        nodes
            .map(|n| n.name.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let _ = writeln!(out, "\nNodes to use:");
    let standard = names(&mut tested().filter(|n| n.nat.is_none()));
    if !standard.is_empty() {
        let _ = writeln!(out, "  Standard: {standard}");
    }
    if tested().any(|n| n.nat.is_some()) {
        let _ = writeln!(out, "  NAT Emulation:");
    }
    for node in tested().filter(|n| n.nat.is_some()) {
        let _ = writeln!(out, "    - {} ({})", node.name, nat_word(node.nat));
    }
    let others = names(&mut plan.nodes.iter().filter(|n| !n.tested));
    if !others.is_empty() {
        let _ = writeln!(out, "  Registry and coordination, not tested: {others}");
    }
    let peers: u32 = tested().map(|n| u32::from(n.peers)).sum();
    if peers as usize > tested().count() {
        let counts: std::collections::BTreeSet<u16> = tested().map(|n| n.peers).collect();
        let counts: Vec<String> = counts.iter().map(u16::to_string).collect();
        let _ = writeln!(out, "  Peers: {peers}, {} a node", counts.join(" or "));
    }
}

fn soak(plan: &Plan) -> String {
    if plan.soak_seconds.is_empty() {
        return "off".into();
    }
    let waits: Vec<String> = plan
        .soak_seconds
        .iter()
        .map(|seconds| {
            span(jiff::SignedDuration::from_secs(
                i64::try_from(*seconds).unwrap_or(i64::MAX),
            ))
        })
        .collect();
    format!("tested again after {}", waits.join(" and after "))
}
