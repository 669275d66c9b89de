//! The real saorsa-gossip on the twin of the request's ten hosts: whatever it comes
//! to, the proof says it from values that were taken.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bed::{BINARY, ran};

#[test]
fn saorsa_gossip_is_judged_by_what_its_peers_measured() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let state = tempfile::tempdir().unwrap();
    let words = [
        "start",
        "saorsa-gossip",
        "full-suite",
        "threshold",
        "all-evidence",
        "--yes",
        "--soak",
        "0",
        "--twin",
        "t-start-gossip",
    ];
    let output = Command::new(BINARY)
        .args(words)
        .current_dir(workspace)
        .env("VPS_TEST_STATE_DIR", state.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = ran(&output);
    let path = state.path().join("saorsa-gossip/latest/proof.json");
    let proof: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let verdict = proof["verdict"].as_str().unwrap();
    let code = match verdict {
        "PASS" => 0,
        "FAIL" => 1,
        other => panic!("{other}: {}\n{}", ran.stdout, ran.stderr),
    };
    assert_eq!(ran.code, code, "{}\n{}", ran.stdout, ran.stderr);

    for (measure, at_least) in [
        ("delivered", 72),
        ("delivery_ms", 72),
        ("duplicates", 72),
        ("hops", 72),
        ("wire_bytes_per_delivery", 1),
        ("payload_bytes_per_delivery", 72),
        ("converged", 27),
        ("agreed", 108),
        ("in_overlay", 72),
        ("unsuspected", 72),
        ("detected", 10),
        ("view_size", 18),
    ] {
        let values = count(&proof, measure);
        assert!(values >= at_least, "{measure}: {values}\n{}", ran.stdout);
    }
}

/// All values of a measure, whatever they are.
fn count(proof: &Value, measure: &str) -> usize {
    let measured = proof["measured"].as_array().unwrap();
    let named = measured.iter().filter(|taken| taken["measure"] == measure);
    named
        .map(|taken| {
            let values = taken["samples"].as_array().or(taken["outcomes"].as_array());
            values.map_or(0, Vec::len)
        })
        .sum()
}
