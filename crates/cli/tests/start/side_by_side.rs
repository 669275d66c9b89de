//! Different projects run side by side on the same nodes, and on one twin: each has
//! units and ports of its own, and the last one takes the twin down.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bed::{Bed, FLEET, built, ran};

#[test]
fn two_projects_share_a_twin_and_neither_disturbs_the_other() {
    let bed = Bed::new("side", FLEET);
    bed.write_config(&format!(
        "workspace: {}
modules:
  other: {{ project: other-udp, binary: udp-test, crate: none, tests: [connectivity] }}
  plain: {{ project: plain-udp, binary: udp-test, crate: none, tests: [connectivity] }}
build: {{ command: 'true', target_dir: {} }}
tests:
  connectivity:
    margins: {{ direct: 40, nat_traversed: 40, relay: 40 }}
    timeout_seconds: 2
",
        bed.dir.path().display(),
        built().display()
    ));
    let words = |project: &'static str, soak: &'static str| {
        let words = bed.start_words(&[]).into_iter();
        words
            .map(|word| match word {
                "plain-udp" => project,
                "0" => soak,
                other => other,
            })
            .collect::<Vec<&str>>()
    };
    // One outlives the other, whichever of the two booted the twin.
    let first = bed.command(&words("plain-udp", "0")).spawn().unwrap();
    let second = bed.command(&words("other-udp", "2s")).spawn().unwrap();
    let (first, second) = (first.wait_with_output(), second.wait_with_output());
    for output in [first.unwrap(), second.unwrap()] {
        let ran = ran(&output);
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    }
    let up = bed.run(&["lab", "status", "--name", bed.twin()]);
    assert_ne!(up.code, 0, "the twin went with the last run: {}", up.stdout);

    let own = |project: &str| {
        let path = bed.state().join(project).join("latest/journal.jsonl");
        let journal = std::fs::read_to_string(path).unwrap();
        let mut units = BTreeSet::new();
        for line in journal.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            if entry["event"] == "deployed" {
                units.insert(entry["unit"].as_str().unwrap().to_owned());
            }
        }
        units
    };
    let (plain, other) = (own("plain-udp"), own("other-udp"));
    assert!(plain.contains("saorsa-test-plain.service"), "{plain:?}");
    assert!(other.contains("saorsa-test-other.service"), "{other:?}");
    assert!(
        other.contains("saorsa-test-other-coordinator.service"),
        "{other:?}"
    );
}
