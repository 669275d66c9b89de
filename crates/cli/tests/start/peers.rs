//! Several peers on a node, and a sample of their pairs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bed::{Bed, FLEET, built, node};

/// The bed's config, with this in `tests.connectivity` and that in `deploy`.
fn configure(bed: &Bed, peers: u16, sample: u32) {
    bed.configure("udp-test", &built());
    let file = bed.dir.path().join("vps-test.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let sampled = format!("  connectivity:\n    sample: {sample}\n");
    let kept = text.replace("  connectivity:\n", &sampled);
    bed.write_config(&format!("{kept}deploy: {{ peers_per_node: {peers} }}\n"));
}

/// Which testers of the stack run on a host, as systemd says.
fn running(bed: &Bed, host: &str) -> String {
    let script = "systemctl list-units --plain --no-legend 'saorsa-test-plain.service' 'saorsa-test-plain@*.service' \
                  | awk '{ printf \"%s:%s \", $1, $4 }'; ls /run/vps-test/saorsa-test-plain[.@]* | wc -l";
    bed.on(host, script)
}

#[test]
fn three_peers_a_node_and_then_one_again() {
    let bed = Bed::new("peers", FLEET).up();
    configure(&bed, 3, 24);
    let ran = bed.start();
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("24 of 108 ordered pairs of peers"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("the worst of the pairs of peers"),
        "{}",
        ran.stdout
    );
    let proof = bed.proof();
    let cells = proof["matrix"].as_array().unwrap();
    assert_eq!(cells.len(), 24);
    let pairs: BTreeSet<(String, String)> = cells
        .iter()
        .map(|c| {
            let end = |node: &str| format!("{}/{}", c[node], c[&format!("{node}_peer")]);
            (end("from"), end("to"))
        })
        .collect();
    assert_eq!(pairs.len(), 24, "no pair twice");
    assert!(
        cells
            .iter()
            .all(|c| c["from"] != c["to"] && c["observed"] == "direct")
    );
    let boxed = |name: &str| ["cone", "port"].contains(&name);
    let between_boxes = cells
        .iter()
        .filter(|c| boxed(c["from"].as_str().unwrap()) && boxed(c["to"].as_str().unwrap()));
    assert!(
        between_boxes.count() >= 2,
        "each pair of behaviours is covered"
    );
    assert!(cells.iter().any(|c| c["from_peer"] == 3));
    let services = node(&proof, "port")["services"].as_object().unwrap();
    for peer in 1..=3 {
        let unit = format!("saorsa-test-plain@{peer}.service");
        assert_eq!(services[&unit], node(&proof, "port")["digest"], "{unit}");
    }
    let reference = |a: &&Value| a["matrix"] == "reference";
    let attempts = proof["attempts"].as_array().unwrap();
    assert!(attempts.iter().filter(reference).count() <= 12);
    assert_eq!(
        running(&bed, "port").trim(),
        "saorsa-test-plain@1.service:running saorsa-test-plain@2.service:running saorsa-test-plain@3.service:running 3"
    );
    assert!(
        bed.run_dir()
            .join("logs/port.saorsa-test-plain.log")
            .exists()
    );
    let run_dir = bed.run_dir();
    let verified = bed.run(&["verify", run_dir.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{}\n{}", verified.stdout, verified.stderr);

    configure(&bed, 1, 24);
    let ran = bed.start();
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof();
    let cells = proof["matrix"].as_array().unwrap();
    assert_eq!(cells.len(), 12, "12 pairs are fewer than 24: no sample");
    assert!(cells.iter().all(|c| c.get("from_peer").is_none()));
    assert_eq!(
        running(&bed, "port").trim(),
        "saorsa-test-plain.service:running 1"
    );

    configure(&bed, 2, 24);
    assert_eq!(bed.start().code, 0);
    let clean = bed.run(&["clean", "--yes", "--twin", bed.twin()]);
    assert_eq!(clean.code, 0, "{}", clean.stderr);
    let left = bed.on(
        "port",
        "systemctl list-units --plain --no-legend 'saorsa-test-*'; ls /etc/systemd/system/*.wants/ | grep saorsa; true",
    );
    assert_eq!(left.trim(), "");
}

#[test]
fn a_sample_too_small_for_all_behaviours_is_refused() {
    let bed = Bed::new("sample", FLEET);
    configure(&bed, 3, 6);
    let ran = bed.start();
    assert_eq!(ran.code, 2, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("has 7 pairs of NAT"), "{}", ran.stderr);
}
