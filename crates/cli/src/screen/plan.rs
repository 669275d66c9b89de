//! The plan before it is run, in the request's form.

use std::fmt::Write;

use model::config::Config;
use model::event::{Plan, PlanNode};

use super::grid::nat_word;
use super::paint::{Paint, Style};

pub fn render(plan: &Plan, config: &Config, paint: Paint) -> String {
    let mut out = format!(
        "{}\n=================\n",
        paint.text(Style::Strong, "Test Plan Summary")
    );
    let criteria: Vec<String> = plan
        .criteria
        .iter()
        .map(|c| format!("{} {}% (margin {})", c.name, c.target, c.margin))
        .collect();
    let _ = writeln!(out, "Project: {}", plan.project);
    let _ = writeln!(out, "Focus:   {}", plan.focus);
    let _ = writeln!(
        out,
        "Success: {}, {}",
        plan.criteria_mode,
        criteria.join(", ")
    );
    let _ = writeln!(out, "Proof:   {}", plan.proof_mode);
    let _ = writeln!(out, "Runs on: {}, fleet {}", plan.runs_on, plan.fleet);
    let _ = writeln!(out, "Binary:  local build, {}", config.build.command);
    if let Some(stack) = &plan.stack {
        let dirty = if stack.dirty_sha256.is_some() {
            ", with uncommitted changes"
        } else {
            ""
        };
        let _ = writeln!(out, "Stack:   {} from {}{dirty}", stack.name, stack.given);
    }
    if let Some(sample) = plan.sample {
        let _ = writeln!(
            out,
            "Sample:  {} of {} ordered pairs of peers, of every pair of NAT behaviours some (seed {})",
            sample.pairs, sample.of, sample.seed
        );
    }
    let _ = writeln!(out, "Soak:    {}", soak(plan));
    nodes(&mut out, plan);
    out.push('\n');
    out
}

fn nodes(out: &mut String, plan: &Plan) {
    let tested = || plan.nodes.iter().filter(|n| n.tested);
    let names = |nodes: &mut dyn Iterator<Item = &PlanNode>| {
        nodes
            .map(|n| n.name.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let _ = writeln!(
        out,
        "Nodes:   {}",
        names(&mut tested().filter(|n| n.nat.is_none()))
    );
    let others = &mut plan.nodes.iter().filter(|n| !n.tested);
    let others = names(others);
    if !others.is_empty() {
        let _ = writeln!(
            out,
            "         {others} for registry and coordination, not tested"
        );
    }
    let peers: u32 = tested().map(|n| u32::from(n.peers)).sum();
    if peers as usize > tested().count() {
        let counts: std::collections::BTreeSet<u16> = tested().map(|n| n.peers).collect();
        let counts: Vec<String> = counts.iter().map(u16::to_string).collect();
        let _ = writeln!(out, "Peers:   {peers}, {} a node", counts.join(" or "));
    }
    for node in tested().filter(|n| n.nat.is_some()) {
        let _ = writeln!(out, "         {} behind {}", node.name, nat_word(node.nat));
    }
}

fn soak(plan: &Plan) -> String {
    if plan.soak_seconds.is_empty() {
        return "off".into();
    }
    let waits: Vec<String> = plan.soak_seconds.iter().map(|s| format!("{s} s")).collect();
    format!("tested again after {}", waits.join(" and after "))
}
