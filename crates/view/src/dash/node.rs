//! One node: its peers, their values, and the tail of their logs.

use jiff::Timestamp;
use model::metrics::help_of_tester;
use model::proof::ProofNode;
use model::registration::Peer;

use super::{ago, put};
use crate::html::Escaped;
use crate::quantity::{bytes, span};

pub struct NodePage<'a> {
    pub name: &'a str,
    /// As the newest run has it.
    pub node: Option<&'a ProofNode>,
    /// Each with what it logged last.
    pub peers: Vec<(Peer, Vec<String>)>,
}

pub fn node(page: &NodePage<'_>, now: Timestamp) -> String {
    let mut out = String::new();
    let alive = page.peers.iter().filter(|(peer, _)| peer.alive).count();
    put(
        &mut out,
        format_args!(
            "<div class=\"headline\"><h1>{}</h1> <p class=\"state-word\">{alive} of {} peers alive</p></div>\n",
            Escaped(page.name),
            page.peers.len()
        ),
    );
    if let Some(node) = page.node {
        put(
            &mut out,
            format_args!(
                "<dl class=\"pairs card\"><div><dt>Role</dt><dd>{}</dd></div><div><dt>Region</dt><dd>{}</dd></div><div><dt>NAT, labelled</dt><dd>{}</dd></div>\
                 <div><dt>NAT, measured</dt><dd>{}</dd></div><div><dt>Kernel</dt><dd>{}</dd></div><div><dt>Newest run</dt><dd>{}</dd></div></dl>\n",
                Escaped(&node.role),
                Escaped(&node.region),
                Escaped(&node.nat.labelled),
                Escaped(&node.nat.measured),
                Escaped(node.kernel.as_deref().unwrap_or("–")),
                Escaped(&node.reached),
            ),
        );
    }
    if page.peers.is_empty() {
        out.push_str("<p class=\"empty\">No peer of this node is registered.</p>\n");
    }
    for (peer, log) in &page.peers {
        show(&mut out, peer, log, now);
    }
    out
}

fn show(out: &mut String, peer: &Peer, log: &[String], now: Timestamp) {
    let (class, state) = if peer.alive {
        ("pass", "alive")
    } else {
        ("fail", "silent")
    };
    let seen = Timestamp::from_millisecond(peer.last_seen).ok();
    let registration = &peer.registration;
    put(
        out,
        format_args!(
            "<section class=\"card\" aria-label=\"{0}\"><div class=\"headline\"><h2>{0}</h2> <span class=\"badge {class}\">{state}</span> <p class=\"state-word\">heard {1}</p></div>\n\
             <p class=\"facts\"><span>{2} of {3}</span> <span>pid {4}</span> <span><code>{5}</code></span></p>\n<dl class=\"pairs values\">\n",
            Escaped(&registration.tester),
            ago(seen, now),
            Escaped(&registration.stack_version),
            Escaped(&registration.project),
            registration.pid,
            Escaped(&registration.digest.chars().take(12).collect::<String>()),
        ),
    );
    for (name, value) in &peer.metrics {
        let value = match name.as_str() {
            n if n.contains("bytes") => bytes(*value),
            n if n.ends_with("_seconds") => span(*value),
            _ => format!("{value}"),
        };
        let help = help_of_tester(name).unwrap_or("Pushed by the tester.");
        put(
            out,
            format_args!(
                "<div title=\"{}\"><dt>{}</dt><dd>{value}</dd></div>\n",
                Escaped(help),
                Escaped(name)
            ),
        );
    }
    out.push_str("</dl>\n");
    if log.is_empty() {
        out.push_str("<p class=\"empty\">It has logged nothing since the registry began.</p>\n");
    } else {
        out.push_str(
            "<h3>Log</h3>\n<pre class=\"log\" tabindex=\"0\" role=\"log\" aria-label=\"Log tail\">",
        );
        for line in log {
            put(out, format_args!("{}\n", Escaped(line)));
        }
        out.push_str("</pre>\n");
    }
    out.push_str("</section>\n");
}
