//! `GET /metrics`, read the way Prometheus reads it.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;

use crate::client::Registry;

/// One sample line: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

#[test]
fn the_text_parses_and_carries_every_peers_values() {
    let registry = Registry::start();
    let client = &registry.client;
    for (node, attempts) in [("saorsa-4", 8.0), ("saorsa-5", 9.0)] {
        let name = client.register(node, 1);
        client.heartbeat(&name, &json!({"attempts_total": attempts}));
    }
    let answer = client.get("/metrics");
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let samples = parse(&answer.text);
    let of = |family: &str| {
        samples
            .iter()
            .filter(|(name, ..)| name == family)
            .collect::<Vec<_>>()
    };
    let attempts = of("vps_test_peer_attempts_total");
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].1["node"], "saorsa-4");
    assert_eq!(attempts[0].1["project"], "ant-quic");
    assert_eq!(attempts[1].2, 9.0);
    assert_eq!(of("vps_test_registry_peer_up").len(), 2);
    let posts: f64 = of("vps_test_registry_http_requests_total")
        .iter()
        .filter(|(_, labels, _)| labels["route"].starts_with("/api/") && labels["code"] == "200")
        .map(|(.., value)| value)
        .sum();
    assert_eq!(posts, 4.0);
}

#[test]
fn paths_that_clients_invent_do_not_become_labels() {
    let registry = Registry::start();
    registry.client.get("/one");
    registry.client.get("/two");
    let samples = parse(&registry.client.get("/metrics").text);
    let routes: HashSet<_> = samples
        .iter()
        .filter_map(|(_, labels, _)| labels.get("route").cloned())
        .collect();
    assert_eq!(routes, HashSet::from(["other".to_owned()]));
}

/// Panics where the text breaks the exposition format: a family declared twice
/// or not at all, samples that stand apart, a line that does not parse.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'));
    let mut declared = HashSet::new();
    let mut current = String::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(declared.insert(name.to_owned()), "declared twice: {line}");
            current = name.to_owned();
        } else if !line.starts_with("# HELP ") {
            let sample = parse_sample(line);
            let of_family = ["", "_bucket", "_sum", "_count"]
                .iter()
                .any(|suffix| sample.0 == format!("{current}{suffix}"));
            assert!(of_family, "outside its family: {line}");
            samples.push(sample);
        }
    }
    samples
}

fn parse_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    while let Some(inner) = rest.strip_prefix(['{', ',']) {
        let (label, tail) = inner.split_once("=\"").unwrap();
        let (value, tail) = tail.split_once('"').unwrap();
        assert!(!value.contains('\\'), "no value of this test needs escapes");
        labels.insert(label.to_owned(), value.to_owned());
        rest = tail.strip_prefix('}').unwrap_or(tail);
    }
    let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
    (name.to_owned(), labels, value)
}
