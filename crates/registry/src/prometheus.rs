//! The Prometheus text format (0.0.4): the registry's own metrics, and every
//! live peer's, which Prometheus itself could not scrape behind a NAT.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::registration::{Health, Peer};

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Own families and re-exported ones have prefixes of their own: no peer can
/// send a name that collides.
const OWN: &str = "vps_test_registry_";
const PEER: &str = "vps_test_peer_";

pub(crate) fn render(
    health: &Health,
    requests: &BTreeMap<(String, u16), u64>,
    peers: &[Peer],
) -> String {
    let mut text = Text(String::new());
    own(&mut text, health, requests);
    per_peer(&mut text, peers);
    re_export(&mut text, peers);
    text.0
}

fn own(text: &mut Text, health: &Health, requests: &BTreeMap<(String, u16), u64>) {
    let family = format!("{OWN}info");
    text.family(&family, Kind::Gauge, "Version of the registry.");
    text.sample(&family, &[("version", &health.version)], 1.0);

    let family = format!("{OWN}uptime_seconds");
    text.family(&family, Kind::Gauge, "Time since the registry began.");
    text.sample(&family, &[], health.uptime_seconds);

    let family = format!("{OWN}peers");
    text.family(&family, Kind::Gauge, "Registered peers by state.");
    let silent = health.peers_known - health.peers_alive;
    text.sample(&family, &[("state", "alive")], health.peers_alive as f64);
    text.sample(&family, &[("state", "silent")], silent as f64);

    let family = format!("{OWN}http_requests_total");
    text.family(
        &family,
        Kind::Counter,
        "Requests answered, by route and status.",
    );
    for ((route, code), count) in requests {
        let code = code.to_string();
        let labels = [("route", route.as_str()), ("code", code.as_str())];
        text.sample(&family, &labels, *count as f64);
    }
}

fn per_peer(text: &mut Text, peers: &[Peer]) {
    let family = format!("{OWN}peer_up");
    text.family(
        &family,
        Kind::Gauge,
        "1 where the peer was heard within its time to live.",
    );
    for peer in peers {
        text.sample(&family, &labels(peer), f64::from(u8::from(peer.alive)));
    }

    let family = format!("{OWN}peer_last_seen_timestamp_seconds");
    text.family(&family, Kind::Gauge, "Unix time of the last heartbeat.");
    for peer in peers {
        text.sample(&family, &labels(peer), peer.last_seen as f64 / 1000.0);
    }

    let family = format!("{OWN}peer_info");
    text.family(&family, Kind::Gauge, "What the peer runs.");
    for peer in peers {
        let registration = &peer.registration;
        let [node, project, name] = labels(peer);
        let labels = [
            node,
            project,
            name,
            ("tester", registration.tester.as_str()),
            ("stack_version", registration.stack_version.as_str()),
            ("digest", registration.digest.as_str()),
        ];
        text.sample(&family, &labels, 1.0);
    }
}

/// Silent peers are left out: their last values would look like current ones.
fn re_export(text: &mut Text, peers: &[Peer]) {
    let mut families: BTreeMap<&str, Vec<(&Peer, f64)>> = BTreeMap::new();
    for peer in peers.iter().filter(|peer| peer.alive) {
        for (name, value) in &peer.metrics {
            families.entry(name).or_default().push((peer, *value));
        }
    }
    for (name, samples) in families {
        let family = format!("{PEER}{name}");
        let kind = if name.ends_with("_total") {
            Kind::Counter
        } else {
            Kind::Gauge
        };
        text.family(&family, kind, "Reported by the peer.");
        for (peer, value) in samples {
            text.sample(&family, &labels(peer), value);
        }
    }
}

fn labels(peer: &Peer) -> [(&'static str, &str); 3] {
    [
        ("node", &peer.registration.node),
        ("project", &peer.registration.project),
        ("peer", &peer.peer),
    ]
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.push(format_args!("{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            self.push(format_args!("{open}{label}=\"{}\"", escaped(text)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.push(format_args!("{close} {value}\n"));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.0
            .write_fmt(text)
            .expect("writing to a String cannot fail");
    }
}

/// The format escapes exactly these three in label values.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use model::registration::Registration;

    use super::*;

    fn peer(node: &str, alive: bool, metrics: &[(&str, f64)]) -> Peer {
        Peer {
            peer: format!("ant-quic/{node}/t/1"),
            registration: Registration {
                project: "ant-quic".into(),
                node: node.into(),
                tester: "t".into(),
                stack_version: "a\"b\\c".into(),
                digest: "00".repeat(32),
                pid: 1,
                local: None,
            },
            registered_at: 0,
            last_seen: 1_700_000_000_500,
            alive,
            metrics: metrics.iter().map(|(k, v)| ((*k).into(), *v)).collect(),
        }
    }

    fn rendered(peers: &[Peer]) -> String {
        let health = Health {
            status: "OK".into(),
            version: "0.1.0".into(),
            uptime_seconds: 1.5,
            peers_alive: 1,
            peers_known: 2,
        };
        let requests = BTreeMap::from([(("/api/peers".to_owned(), 200), 3)]);
        render(&health, &requests, peers)
    }

    #[test]
    fn counters_and_gauges_carry_the_peers_labels() {
        let text = rendered(&[peer("a", true, &[("attempts_total", 72.0), ("open", 0.25)])]);
        let labels = "{node=\"a\",project=\"ant-quic\",peer=\"ant-quic/a/t/1\"}";
        assert!(text.contains("# TYPE vps_test_peer_attempts_total counter\n"));
        assert!(text.contains(&format!("vps_test_peer_attempts_total{labels} 72\n")));
        assert!(text.contains("# TYPE vps_test_peer_open gauge\n"));
        assert!(text.contains(&format!("vps_test_peer_open{labels} 0.25\n")));
        assert!(text.contains(&format!(
            "vps_test_registry_peer_last_seen_timestamp_seconds{labels} 1700000000.5\n"
        )));
        assert!(text.contains(
            "vps_test_registry_http_requests_total{route=\"/api/peers\",code=\"200\"} 3\n"
        ));
    }

    #[test]
    fn a_silent_peer_is_down_and_reports_nothing() {
        let text = rendered(&[peer("a", false, &[("attempts_total", 72.0)])]);
        assert!(!text.contains("attempts_total"));
        assert!(text.contains("peer=\"ant-quic/a/t/1\"} 0\n"));
    }

    #[test]
    fn a_family_is_declared_once_and_its_samples_stand_together() {
        let text = rendered(&[
            peer("a", true, &[("x", 1.0), ("y", 2.0)]),
            peer("b", true, &[("x", 3.0)]),
        ]);
        assert_eq!(text.matches("# TYPE vps_test_peer_x ").count(), 1);
        let lines: Vec<_> = text.lines().collect();
        let first = lines
            .iter()
            .position(|l| l.starts_with("vps_test_peer_x{"))
            .unwrap();
        assert!(lines[first + 1].starts_with("vps_test_peer_x{node=\"b\""));
    }

    #[test]
    fn label_values_are_escaped() {
        assert!(rendered(&[peer("a", true, &[])]).contains("stack_version=\"a\\\"b\\\\c\""));
    }
}
