//! The suite `throughput` with the real ant-quic: directly and over a relay, beside
//! what plain TCP and UDP reach.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bed::{Bed, FLEET, SYMMETRIC, built};

#[test]
fn pairs_are_loaded_directly_and_over_a_relay_beside_their_ceiling() {
    let bed = Bed::new("throughput", &format!("{FLEET}{SYMMETRIC}")).up();
    bed.write_config(&format!(
        "workspace: {}
modules:
  plain: {{ project: plain-udp, binary: saorsa-quic-test, crate: none, tests: [throughput] }}
build: {{ command: 'true', target_dir: {} }}
tests:
  throughput: {{ pairs: 4, streams: [1, 2], seconds: 1 }}
",
        bed.dir.path().display(),
        built().display()
    ));
    let ran = bed.run(&[
        "start",
        "plain-udp",
        "throughput",
        "custom",
        "logs",
        "--criteria-expr",
        "p50(goodput_mbit) >= 5",
        "--yes",
        "--soak",
        "0",
        "--twin",
        bed.twin(),
    ]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);

    let proof = bed.proof();
    let of = |measure: &str| -> Vec<Value> {
        let all = proof["measured"].as_array().unwrap().iter();
        all.filter(|m| m["measure"] == measure).cloned().collect()
    };
    let carried = of("carried");
    assert!(
        carried.iter().all(|m| m["outcomes"][0] == "success"),
        "{carried:?}"
    );
    let seen = |name: &str| -> BTreeSet<String> {
        let conditions = carried.iter().map(|m| &m["conditions"][name]);
        conditions.map(|c| c.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(seen("path"), ["direct", "relayed"].map(String::from).into());
    assert_eq!(seen("direction"), ["down", "up"].map(String::from).into());
    assert_eq!(seen("streams"), ["1", "2"].map(String::from).into());
    for measure in [
        "goodput_mbit",
        "ceiling_mbit",
        "of_ceiling",
        "cpu_s_per_gbit",
    ] {
        let values = of(measure);
        assert!(
            !values.is_empty() && values.iter().all(|m| m["samples"][0].as_f64() > Some(0.0)),
            "{measure}: {values:?}"
        );
    }
    assert!(ran.stdout.contains("\n    goodput_mbit "), "{}", ran.stdout);
    let page = std::fs::read_to_string(bed.run_dir().join("proof.html")).unwrap();
    assert!(page.contains("<h2>Throughput") && page.contains("<h2>Measures"));
    let again = bed.run(&["verify", "plain-udp"]);
    assert_eq!(again.code, 0, "{}\n{}", again.stdout, again.stderr);
}
