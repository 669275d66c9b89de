//! The Prometheus text format (0.0.4): the registry's own metrics, the newest run
//! of each project, and every live peer's values, which Prometheus itself could
//! not scrape behind a NAT. Names, kinds and help are those of [`model::metrics`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use model::metrics::{Kind, PEER_PREFIX, REGISTRY, help_of_tester};
use model::publication::RunSummary;
use model::registration::{Health, Peer};

use crate::peers::{Moment, Nats};
use crate::requests::{BOUNDS, Counts};
use crate::state::State;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is written, before it is text.
struct Snapshot {
    health: Health,
    requests: Counts,
    listeners: usize,
    database_bytes: Option<u64>,
    peers: Vec<Peer>,
    /// The newest of each project.
    runs: Vec<RunSummary>,
}

/// What a caller of this fleet may see; `None` sees all.
pub(crate) fn render(state: &State, fleet: Option<&str>) -> String {
    let now = Moment::now();
    let store = state.runs.store();
    let mut projects = BTreeSet::new();
    let runs = store.runs(fleet, None, None, 200).unwrap_or_default();
    let newest = runs
        .into_iter()
        .map(|(_, run)| run)
        .filter(|run| projects.insert((run.fleet.clone(), run.project.clone())));
    let snapshot = Snapshot {
        health: state.health(now),
        requests: state.requests.read(),
        listeners: state.listeners(),
        database_bytes: store.size_bytes().ok(),
        runs: newest.collect(),
        peers: state.peers(now).all(fleet, &Nats::new(), now),
    };
    text(&snapshot)
}

fn text(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    own(&mut text, snapshot);
    for peer in &snapshot.peers {
        about_peer(&mut text, peer);
    }
    for run in &snapshot.runs {
        about_run(&mut text, run);
    }
    let mut out = text.written();
    re_export(&mut out, &snapshot.peers);
    out
}

fn own(text: &mut Text, snapshot: &Snapshot) {
    let health = &snapshot.health;
    text.put(
        "vps_test_registry_info",
        &[("version", &health.version)],
        1.0,
    );
    text.put(
        "vps_test_registry_uptime_seconds",
        &[],
        health.uptime_seconds,
    );
    let silent = health.peers_known - health.peers_alive;
    for (state, count) in [("alive", health.peers_alive), ("silent", silent)] {
        text.put("vps_test_registry_peers", &[("state", state)], count as f64);
    }
    text.put("vps_test_registry_runs", &[], health.runs as f64);
    text.put(
        "vps_test_registry_event_listeners",
        &[],
        snapshot.listeners as f64,
    );
    if let Some(bytes) = snapshot.database_bytes {
        text.put("vps_test_registry_database_bytes", &[], bytes as f64);
    }
    for ((route, code), count) in &snapshot.requests.by_route {
        let labels = [("route", route.as_str()), ("code", &code.to_string())];
        text.put(
            "vps_test_registry_http_requests_total",
            &labels,
            *count as f64,
        );
    }
    let name = "vps_test_registry_http_request_duration_seconds";
    for (bound, within) in BOUNDS.iter().zip(snapshot.requests.within) {
        text.part(
            name,
            "_bucket",
            &[("le", &bound.to_string())],
            within as f64,
        );
    }
    let count = snapshot.requests.count as f64;
    text.part(name, "_bucket", &[("le", "+Inf")], count);
    text.part(name, "_sum", &[], snapshot.requests.seconds);
    text.part(name, "_count", &[], count);
}

fn about_peer(text: &mut Text, peer: &Peer) {
    let [node, project, name] = labels(peer);
    let up = f64::from(u8::from(peer.alive));
    let seen = peer.last_seen as f64 / 1000.0;
    text.put("vps_test_registry_peer_up", &labels(peer), up);
    text.put(
        "vps_test_registry_peer_last_seen_timestamp_seconds",
        &labels(peer),
        seen,
    );
    let registration = &peer.registration;
    let info = [
        node,
        project,
        name,
        ("tester", registration.tester.as_str()),
        ("stack_version", registration.stack_version.as_str()),
        ("digest", registration.digest.as_str()),
    ];
    text.put("vps_test_registry_peer_info", &info, 1.0);
}

fn about_run(text: &mut Text, run: &RunSummary) {
    let seconds = |at: jiff::Timestamp| at.as_millisecond() as f64 / 1000.0;
    let labels = [("project", run.project.as_str()), ("run", run.run.as_str())];
    text.put(
        "vps_test_run_state",
        &with(labels, "state", &run.state.to_string()),
        1.0,
    );
    text.put(
        "vps_test_run_verdict",
        &with(labels, "verdict", &run.standing.to_string()),
        1.0,
    );
    if let Some(at) = run.last_at {
        text.put(
            "vps_test_run_last_event_timestamp_seconds",
            &labels,
            seconds(at),
        );
    }
    if let Some(until) = run.wait_until {
        text.put(
            "vps_test_run_wait_until_timestamp_seconds",
            &labels,
            seconds(until),
        );
    }
    text.put("vps_test_run_attempts", &labels, run.attempts as f64);
    for criterion in &run.criteria {
        let labels = with(labels, "criterion", &criterion.name);
        let mut put = |name, value| text.put(name, &labels, value);
        let attempts = criterion.attempts as f64;
        if criterion.attempts > 0 {
            let ratio = criterion.successes as f64 / attempts;
            put("vps_test_run_criterion_success_ratio", ratio);
        }
        if let Some([low, high]) = criterion.interval {
            put("vps_test_run_criterion_success_ratio_low", low / 100.0);
            put("vps_test_run_criterion_success_ratio_high", high / 100.0);
        }
        put(
            "vps_test_run_criterion_target_ratio",
            criterion.target / 100.0,
        );
        put("vps_test_run_criterion_attempts", attempts);
    }
}

fn with<'a>(
    labels: [(&'a str, &'a str); 2],
    name: &'a str,
    value: &'a str,
) -> [(&'a str, &'a str); 3] {
    [labels[0], labels[1], (name, value)]
}

/// Silent peers are left out: their last values would look like current ones.
fn re_export(out: &mut String, peers: &[Peer]) {
    let mut families: BTreeMap<&str, Vec<(&Peer, f64)>> = BTreeMap::new();
    for peer in peers.iter().filter(|peer| peer.alive) {
        for (name, value) in &peer.metrics {
            families.entry(name).or_default().push((peer, *value));
        }
    }
    for (name, samples) in families {
        let family = format!("{PEER_PREFIX}{name}");
        let kind = if name.ends_with("_total") {
            Kind::Counter
        } else {
            Kind::Gauge
        };
        let help = help_of_tester(name).unwrap_or("Pushed by the tester.");
        head(out, &family, kind, help);
        for (peer, value) in samples {
            sample(out, &family, &labels(peer), value);
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

/// Samples by family: the format wants a family's samples together.
#[derive(Default)]
struct Text(BTreeMap<&'static str, String>);

impl Text {
    fn put(&mut self, family: &'static str, labels: &[(&str, &str)], value: f64) {
        self.part(family, "", labels, value);
    }

    fn part(&mut self, family: &'static str, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let lines = self.0.entry(family).or_default();
        sample(lines, &format!("{family}{suffix}"), labels, value);
    }

    /// In the order of the table, each with what the table says of it.
    fn written(mut self) -> String {
        let mut out = String::new();
        for metric in REGISTRY {
            if let Some(lines) = self.0.remove(metric.name) {
                head(&mut out, metric.name, metric.kind, metric.help);
                out.push_str(&lines);
            }
        }
        debug_assert!(self.0.is_empty(), "not in the table: {:?}", self.0.keys());
        out
    }
}

fn head(out: &mut String, family: &str, kind: Kind, help: &str) {
    push(
        out,
        format_args!("# HELP {family} {help}\n# TYPE {family} {kind}\n"),
    );
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    out.push_str(name);
    for (index, (label, text)) in labels.iter().enumerate() {
        let open = if index == 0 { '{' } else { ',' };
        push(out, format_args!("{open}{label}=\"{}\"", escaped(text)));
    }
    let close = if labels.is_empty() { "" } else { "}" };
    push(out, format_args!("{close} {value}\n"));
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String cannot fail");
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
            fleet: "f".into(),
            registration: Registration {
                project: "ant-quic".into(),
                node: node.into(),
                tester: "t".into(),
                stack_version: "a\"b\\c".into(),
                digest: "00".repeat(32),
                pid: 1,
                local: None,
            },
            nat: None,
            registered_at: 0,
            last_seen: 1_700_000_000_500,
            alive,
            metrics: metrics.iter().map(|(k, v)| ((*k).into(), *v)).collect(),
        }
    }

    fn rendered(peers: &[Peer]) -> String {
        text(&Snapshot {
            health: Health {
                status: "OK".into(),
                version: "0.1.0".into(),
                uptime_seconds: 1.5,
                peers_alive: 1,
                peers_known: 2,
                runs: 3,
            },
            requests: Counts {
                by_route: BTreeMap::from([(("/api/peers".to_owned(), 200), 3)]),
                ..Counts::default()
            },
            listeners: 0,
            database_bytes: None,
            peers: peers.to_vec(),
            runs: Vec::new(),
        })
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
        assert!(text.contains("duration_seconds_bucket{le=\"+Inf\"} 0\n"));
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
        for family in ["vps_test_peer_x", "vps_test_registry_peer_up"] {
            assert_eq!(text.matches(&format!("# TYPE {family} ")).count(), 1);
            let lines: Vec<_> = text.lines().collect();
            let first = lines
                .iter()
                .position(|l| l.starts_with(&format!("{family}{{")))
                .unwrap();
            assert!(lines[first + 1].starts_with(&format!("{family}{{node=\"b\"")));
        }
    }

    #[test]
    fn label_values_are_escaped() {
        assert!(rendered(&[peer("a", true, &[])]).contains("stack_version=\"a\\\"b\\\\c\""));
    }
}
