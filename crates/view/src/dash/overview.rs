//! The first screen: what runs, how it stands, who is there.

use jiff::Timestamp;
use model::proof::CriterionResult;
use model::publication::RunSummary;
use model::run::State;
use model::stats::Verdict;

use super::{ago, badge, in_query, left, machine, put};
use crate::html::Escaped;
use crate::quantity::{bytes, span};

/// The newest run of a project.
pub struct Loop<'a> {
    pub run: &'a RunSummary,
    /// What nobody may overlook.
    pub findings: &'a [String],
    /// Nodes that take no part, each with why.
    pub degraded: Vec<(String, String)>,
}

/// A node and the peers on it.
#[derive(Debug, Clone, Default)]
pub struct NodeHealth {
    pub name: String,
    pub region: String,
    pub role: String,
    pub nat: Option<String>,
    pub alive: usize,
    pub known: usize,
    pub memory_bytes: Option<f64>,
    pub attempts: Option<f64>,
    pub failures: Option<f64>,
    pub last_seen: Option<Timestamp>,
    /// Why it takes no part in the newest run.
    pub degraded: Option<String>,
}

pub fn overview(loops: &[Loop<'_>], nodes: &[NodeHealth], now: Timestamp) -> String {
    let mut out = String::from("<h1 class=\"quiet\">Overview</h1>\n");
    if loops.is_empty() {
        out.push_str("<p class=\"empty\">No run was published here yet. <code>vps-test start</code> publishes what it does.</p>\n");
    }
    for one in loops {
        show_loop(&mut out, one, now);
    }
    show_nodes(&mut out, nodes, now);
    out
}

fn show_loop(out: &mut String, one: &Loop<'_>, now: Timestamp) {
    let run = one.run;
    let href = in_query(run.run.as_str());
    put(
        out,
        format_args!(
            "<section class=\"card loop {}\" aria-label=\"{}\">\n",
            tone(run),
            Escaped(&run.project)
        ),
    );
    put(
        out,
        format_args!(
            "<div class=\"headline\"><h2><a href=\"/runs/{href}\">{}</a></h2> {} <p class=\"state-word\">{}</p></div>\n",
            Escaped(&run.project),
            badge(run.standing),
            state_words(run, now),
        ),
    );
    put(
        out,
        format_args!(
            "<p class=\"why\">{}</p>\n",
            Escaped(run.stopped.as_deref().unwrap_or(&run.standing_summary))
        ),
    );
    out.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"State machine\">\n",
    );
    out.push_str(&machine(run));
    out.push_str("</div>\n");
    criteria(out, &run.criteria);
    facts(out, run, now);
    for (node, why) in &one.degraded {
        put(
            out,
            format_args!(
                "<p class=\"finding\">! <a href=\"/nodes/{}\">{}</a> takes no part: {}</p>\n",
                in_query(node),
                Escaped(node),
                Escaped(why)
            ),
        );
    }
    for finding in one.findings.iter().take(4) {
        put(
            out,
            format_args!("<p class=\"finding\">! {}</p>\n", Escaped(finding)),
        );
    }
    out.push_str("</section>\n");
}

pub(super) fn tone(run: &RunSummary) -> &'static str {
    match (run.state, run.standing) {
        (State::Complete, _) => "good",
        (_, Verdict::Fail) | (State::Fix | State::Restart, _) => "bad",
        (State::Stopped, _) => "halted",
        (_, Verdict::Pass) => "good",
        _ => "going",
    }
}

/// Where it is, and until when.
pub(super) fn state_words(run: &RunSummary, now: Timestamp) -> String {
    match (run.state, run.wait_until) {
        (State::Complete, _) => format!("COMPLETE {}", ago(run.ended_at, now)),
        (State::Stopped, _) => format!("STOPPED {}", ago(run.ended_at, now)),
        (state, Some(until)) => format!("{state}, next test in {}", left(until, now)),
        (State::Test, None) => format!(
            "TEST {} of {}, {} attempts so far",
            (run.passed + 1).min(run.tests),
            run.tests,
            run.attempts
        ),
        (state, None) => format!("{state} since {}", ago(run.entered_at, now)),
    }
}

/// One row a criterion, with its interval drawn.
pub(super) fn criteria(out: &mut String, criteria: &[CriterionResult]) {
    if criteria.is_empty() {
        return;
    }
    out.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Criteria\"><table class=\"criteria\">\n<thead><tr><th scope=\"col\">Criterion</th>\
         <th scope=\"col\">Verdict</th><th scope=\"col\" class=\"number\">Successes</th>\
         <th scope=\"col\">95% interval</th><th scope=\"col\" class=\"number\">Target</th><th scope=\"col\">Why</th></tr></thead>\n<tbody>\n",
    );
    for c in criteria {
        let rate = if c.attempts == 0 {
            "–".to_owned()
        } else {
            format!("{:.1}%", 100.0 * c.successes as f64 / c.attempts as f64)
        };
        let infrastructure = if c.infrastructure_failures == 0 {
            String::new()
        } else {
            format!(
                " <small>+{} infrastructure</small>",
                c.infrastructure_failures
            )
        };
        put(
            out,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"number\"><b>{rate}</b> <small>{}/{}</small>{infrastructure}</td><td class=\"wide\">{}</td>\
                 <td class=\"number\">{} <small>− {}</small></td><td class=\"wide\"><small>{}</small></td></tr>\n",
                Escaped(&c.name),
                badge(c.verdict),
                c.successes,
                c.attempts,
                bar(c),
                c.target,
                c.margin,
                Escaped(&c.reason),
            ),
        );
    }
    out.push_str("</tbody></table></div>\n");
}

/// The interval against the target, on a line from 50% to 100%.
pub(super) fn bar(c: &CriterionResult) -> String {
    let x = |percent: f64| (percent.clamp(50.0, 100.0) - 50.0) / 50.0 * 150.0 + 5.0;
    let Some([low, high]) = c.interval else {
        return "<small>no attempts</small>".into();
    };
    let (bad, target) = (x(c.target - c.margin), x(c.target));
    let rate = 100.0 * c.successes as f64 / c.attempts.max(1) as f64;
    format!(
        "<svg class=\"bar-interval\" viewBox=\"0 0 160 16\" width=\"160\" height=\"16\" role=\"img\" aria-label=\"{low:.1} to {high:.1} percent\" \
         xmlns=\"http://www.w3.org/2000/svg\"><path class=\"axis\" d=\"M5 8H155\"/>\
         <rect class=\"margin\" x=\"{bad:.1}\" y=\"2\" width=\"{:.1}\" height=\"12\"/>\
         <path class=\"target\" d=\"M{target:.1} 1V15\"/><path class=\"range\" d=\"M{:.1} 8H{:.1}\"/>\
         <circle class=\"point\" cx=\"{:.1}\" cy=\"8\" r=\"3.5\"/></svg> <small>{low:.1}–{high:.1}</small>",
        (target - bad).max(0.5),
        x(low),
        x(high),
        x(rate),
    )
}

fn facts(out: &mut String, run: &RunSummary, now: Timestamp) {
    let ran = run.started_at.map(|start| {
        let end = run.ended_at.unwrap_or(now);
        span(end.duration_since(start).as_secs_f64())
    });
    put(
        out,
        format_args!(
            "<p class=\"facts\"><span>{}</span> <span>{}</span> <span>{} of {} nodes</span> <span>cycle {}</span> \
             <span>ran {}</span> <span>last event {} {}</span> <a href=\"/matrix?run={}\">matrix</a></p>\n",
            Escaped(run.stack.as_deref().unwrap_or("stack not known yet")),
            Escaped(&run.runs_on),
            run.nodes_reached,
            run.nodes,
            run.cycle + 1,
            ran.unwrap_or_else(|| "–".into()),
            Escaped(&run.last_event),
            ago(run.last_at, now),
            in_query(run.run.as_str()),
        ),
    );
}

/// Nothing where no peer ever spoke: a row of dashes says no more.
fn peers_of(node: &NodeHealth) -> String {
    if node.known == 0 {
        return String::new();
    }
    format!(
        "{} of {} peers · {} · {}",
        node.alive,
        node.known,
        node.memory_bytes.map_or_else(|| "–".into(), bytes),
        node.attempts
            .map_or_else(|| "– attempts".into(), |n| format!("{n:.0} attempts")),
    )
}

fn show_nodes(out: &mut String, nodes: &[NodeHealth], now: Timestamp) {
    let up = nodes.iter().filter(|n| n.alive > 0).count();
    put(
        out,
        format_args!(
            "<section class=\"card\" aria-label=\"Nodes\">\n<div class=\"headline\"><h2>Nodes</h2> <p class=\"state-word\">{up} of {} with a live peer</p></div>\n",
            nodes.len()
        ),
    );
    if nodes.is_empty() {
        out.push_str("<p class=\"empty\">No peer has registered yet. A tester that is started with <code>--registry</code> appears here within a second.</p>\n</section>\n");
        return;
    }
    out.push_str("<ul class=\"nodes\">\n");
    for node in nodes {
        let (class, state) = match (node.alive, node.known, &node.degraded) {
            (_, _, Some(_)) => ("down", "takes no part"),
            (0, 0, None) => ("idle", "no peer"),
            (0, _, None) => ("down", "silent"),
            (alive, known, None) if alive < known => ("short", "partly silent"),
            _ => ("up", "up"),
        };
        put(
            out,
            format_args!(
                "<li class=\"{class}\"><a href=\"/nodes/{}\">{}</a> <span class=\"health\">{state}</span>\
                 <small>{}{}</small><small>{}</small><small>{}</small></li>\n",
                in_query(&node.name),
                Escaped(&node.name),
                Escaped(&node.region),
                node.nat
                    .as_ref()
                    .map_or(String::new(), |nat| format!(" · NAT {}", Escaped(nat))),
                peers_of(node),
                node.degraded
                    .as_ref()
                    .map_or_else(|| ago(node.last_seen, now), |why| Escaped(why).to_string()),
            ),
        );
    }
    out.push_str("</ul>\n</section>\n");
}
