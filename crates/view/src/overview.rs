//! The registry's front page: who is there, who fell silent, since when.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::registration::Peer;

use crate::html::{Escaped, Page, Style};
use crate::natural::{NaturalKey, natural_key};
use crate::quantity::{bytes, span};

/// How often the page loads itself again.
const REFRESH_SECONDS: u32 = 5;

/// How much of a digest a person compares.
const DIGEST_SHOWN: usize = 12;

/// What the page shows.
pub struct Overview<'a> {
    pub peers: &'a [Peer],
    /// Unix milliseconds.
    pub now: i64,
    pub ttl_seconds: u64,
    pub uptime_seconds: f64,
    pub version: &'a str,
    /// Where the server serves [`crate::STYLE`].
    pub style_path: &'a str,
}

/// Renders the whole document.
pub fn overview(data: &Overview<'_>) -> String {
    let mut body = String::new();
    header(&mut body, data);
    if data.peers.is_empty() {
        body.push_str("<p class=\"empty\">No peer has registered yet. A tester that is started with <code>--registry</code> appears here within a second.</p>\n");
    } else {
        table(&mut body, data);
    }
    footer(&mut body, data);
    let page = Page {
        title: "vps-test registry",
        style: Style::Linked(data.style_path),
        refresh_seconds: Some(REFRESH_SECONDS),
        body: &body,
    };
    page.to_string()
}

fn header(out: &mut String, data: &Overview<'_>) {
    let alive = data.peers.iter().filter(|p| p.alive).count();
    let nodes = by_node(data.peers);
    let complete = nodes
        .values()
        .filter(|peers| peers.iter().any(|p| p.alive))
        .count();
    push(
        out,
        format_args!(
            "<header>\n<h1>vps-test registry</h1>\n<dl class=\"tiles\">\n\
             {}{}{}</dl>\n</header>\n<main>\n",
            tile("peers alive", alive, data.peers.len()),
            tile("nodes with a peer", complete, nodes.len()),
            format_args!(
                "<div><dt>up</dt><dd>{}</dd></div>\n",
                span(data.uptime_seconds)
            ),
        ),
    );
}

fn tile(label: &str, part: usize, whole: usize) -> String {
    let class = if part == whole {
        ""
    } else {
        " class=\"short\""
    };
    format!("<div{class}><dt>{label}</dt><dd>{part}<small> of {whole}</small></dd></div>\n")
}

fn table(out: &mut String, data: &Overview<'_>) {
    out.push_str(
        "<table class=\"peers\">\n<thead><tr><th scope=\"col\">Node</th><th scope=\"col\">Peer</th>\
         <th scope=\"col\">Project</th><th scope=\"col\">Stack</th><th scope=\"col\">Binary</th>\
         <th scope=\"col\" class=\"number\">Attempts</th><th scope=\"col\" class=\"number\">Memory</th>\
         <th scope=\"col\" class=\"number\">Last seen</th></tr></thead>\n",
    );
    for peers in by_node(data.peers).values() {
        let node = &peers[0].registration.node;
        out.push_str("<tbody>\n");
        for (index, peer) in peers.iter().enumerate() {
            let heading = (index == 0).then(|| {
                format!(
                    "<th scope=\"rowgroup\" rowspan=\"{}\">{}</th>",
                    peers.len(),
                    Escaped(node)
                )
            });
            row(out, heading.as_deref().unwrap_or_default(), peer, data.now);
        }
        out.push_str("</tbody>\n");
    }
    out.push_str("</table>\n");
}

fn row(out: &mut String, heading: &str, peer: &Peer, now: i64) {
    let registration = &peer.registration;
    let (class, state) = if peer.alive {
        ("alive", "alive")
    } else {
        ("gone", "silent")
    };
    let digest: String = registration.digest.chars().take(DIGEST_SHOWN).collect();
    push(
        out,
        format_args!(
            "<tr class=\"{class}\">{heading}\
             <td><span class=\"state\">{state}</span> {} <small>pid {}</small></td>\
             <td>{}</td><td>{}</td><td><code title=\"{}\">{}</code></td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{} ago</td></tr>\n",
            Escaped(&registration.tester),
            registration.pid,
            Escaped(&registration.project),
            Escaped(&registration.stack_version),
            Escaped(&registration.digest),
            Escaped(&digest),
            measure(peer, "attempts_total", |n| format!("{n:.0}")),
            measure(peer, "resident_memory_bytes", bytes),
            span((now - peer.last_seen).max(0) as f64 / 1000.0),
        ),
    );
}

/// A dash where the peer has not said: unmeasured is not zero.
fn measure(peer: &Peer, name: &str, show: impl Fn(f64) -> String) -> String {
    peer.metrics
        .get(name)
        .map_or_else(|| "–".to_owned(), |value| show(*value))
}

fn footer(out: &mut String, data: &Overview<'_>) {
    push(
        out,
        format_args!(
            "</main>\n<footer>A peer that is silent for longer than {} s is shown as silent and later \
             dropped. <a href=\"/api/peers\">peers</a> <a href=\"/api/metrics\">metrics</a> \
             <a href=\"/metrics\">Prometheus</a> <a href=\"/health\">health</a> \
             <span>vps-test-registry {}</span></footer>\n",
            data.ttl_seconds,
            Escaped(data.version),
        ),
    );
}

/// Nodes in the order that people count in, each with its peers.
fn by_node(peers: &[Peer]) -> BTreeMap<NaturalKey<'_>, Vec<&Peer>> {
    let mut nodes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for peer in peers {
        let node = peer.registration.node.as_str();
        nodes.entry(natural_key(node)).or_default().push(peer);
    }
    nodes
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::registration::Registration;

    use super::*;

    const NOW: i64 = 1_700_000_100_000;

    fn peer(node: &str, alive: bool) -> Peer {
        Peer {
            peer: format!("ant-quic/{node}/saorsa-quic-test/17"),
            registration: Registration {
                project: "ant-quic".into(),
                node: node.into(),
                tester: "saorsa-quic-test".into(),
                stack_version: "0.27.61".into(),
                digest: "ab".repeat(32),
                pid: 17,
                local: None,
            },
            registered_at: NOW - 90_000,
            last_seen: NOW - 4_000,
            alive,
            metrics: BTreeMap::from([("resident_memory_bytes".into(), 31_400_000.0)]),
        }
    }

    fn page(peers: &[Peer]) -> String {
        overview(&Overview {
            peers,
            now: NOW,
            ttl_seconds: 30,
            uptime_seconds: 3725.0,
            version: "0.1.0",
            style_path: "/style.css",
        })
    }

    #[test]
    fn shows_every_peer_under_its_node_and_who_is_silent() {
        insta::assert_snapshot!(page(&[peer("saorsa-10", false), peer("saorsa-9", true)]));
    }

    #[test]
    fn an_empty_registry_says_what_would_fill_it() {
        let page = page(&[]);
        assert!(page.contains("No peer has registered yet"));
        assert!(!page.contains("<table"));
    }

    #[test]
    fn hostile_names_stay_text() {
        let hostile = "<script>alert(1)</script>\"'&";
        let mut bad = peer(hostile, true);
        bad.registration.project = hostile.into();
        bad.registration.tester = hostile.into();
        bad.registration.stack_version = hostile.into();
        bad.registration.digest = "\" onmouseover=\"x".into();
        let page = page(&[bad]);
        assert!(!page.contains("<script"));
        assert!(!page.contains("\" onmouseover"));
        assert_eq!(page.matches("&lt;script&gt;alert(1)").count(), 4);
    }

    #[test]
    fn a_page_brings_no_script_and_no_inline_style() {
        let page = page(&[peer("a", true)]);
        assert!(!page.contains("style=\""));
        assert!(!page.contains("<style"));
        assert!(!page.contains("http://") && !page.contains("https://"));
    }
}
