//! Looking at what a run did and at the hosts it was on: the commands that change
//! nothing. `result` calls these on the twin that it has, after two runs.

use serde_json::Value;

use crate::bed::Bed;

pub fn at_runs(bed: &Bed) {
    let story = bed.run(&["logs", "plain-udp"]);
    assert_eq!(story.code, 0, "{}", story.stderr);
    for part in [
        "▸ TEST",
        "cone is measured as Full Cone",
        "✓ PASS",
        "✓ COMPLETE",
        "it took",
    ] {
        assert!(story.stdout.contains(part), "{part} in\n{}", story.stdout);
    }
    let all = bed.run(&["logs", "plain-udp", "--all"]).stdout;
    assert!(all.contains("✓ one → two: direct in"), "{all}");
    assert!(!story.stdout.contains("one → two"), "{}", story.stdout);
    let late = bed.run(&["logs", "plain-udp", "--since", "2100-01-01T00:00:00Z"]);
    assert!(!late.stdout.contains("TEST"), "{}", late.stdout);

    let live = bed.run(&["logs", "plain-udp", "--node", "cone", "--since", "1h"]);
    assert_eq!(live.code, 0, "{}", live.stderr);
    assert!(live.stdout.contains("registered as"), "{}", live.stdout);
    let unknown = bed.run(&["logs", "plain-udp", "--node", "cune"]);
    assert!(
        unknown.stderr.contains("did you mean `cone`?"),
        "{}",
        unknown.stderr
    );

    let history = bed.run(&["history", "plain-udp"]).stdout;
    assert_eq!(history.matches("✓ 20").count(), 2, "{history}");
    assert!(history.contains("direct 6/6"), "{history}");
    let compared = bed.run(&["compare", "plain-udp"]);
    assert_eq!(compared.code, 0, "{}", compared.stderr);
    for part in [
        "the intervals overlap",
        "Cells that changed\n  none",
        "Time to connect, median",
    ] {
        assert!(
            compared.stdout.contains(part),
            "{part} in\n{}",
            compared.stdout
        );
    }
    let json: Value =
        serde_json::from_str(&bed.run(&["compare", "plain-udp", "--json"]).stdout).unwrap();
    assert_eq!(json["criteria"][0]["after"]["verdict"], "PASS");
    let beyond = bed.run(&["compare", "plain-udp~9"]);
    assert_eq!(beyond.code, 2);
    assert!(beyond.stderr.contains("has 2 runs"), "{}", beyond.stderr);
}

pub fn at_hosts(bed: &Bed) {
    let fine = diagnose(bed, "cone");
    assert_eq!(fine.0, 0, "{}", fine.1);
    assert_eq!(fine.1["healthy"], true);
    assert_eq!(fine.1["measured"]["as"], "Full Cone (EIM/EIF)");
    let units = fine.1["facts"]["units"].as_array().unwrap();
    assert_eq!(units.len(), 2, "{units:?}");
    assert!(units.iter().all(|unit| unit["active"] == "active"));
    let screen = bed.run(&["diagnose", "cone", "--twin", bed.twin()]).stdout;
    assert!(screen.contains("✓ nothing is wrong with cone"), "{screen}");

    bed.on("cone", "nft delete table ip vps_test_natbox");
    bed.on("port", "systemctl stop saorsa-test-plain.service");
    bed.on(
        "two",
        "systemctl stop saorsa-test-plain-coordinator.service && \
         systemd-run -q --unit squatter socat -u UDP-RECV:9000 OPEN:/dev/null && sleep 0.3",
    );
    for (node, code, kind) in [
        ("cone", 4, "nat_box"),
        ("port", 1, "service"),
        ("two", 4, "port"),
    ] {
        let (exit, said) = diagnose(bed, node);
        assert_eq!(exit, code, "{node}: {said}");
        let worst = &said["findings"][0];
        assert_eq!(worst["kind"], kind, "{said}");
        assert!(!worst["remedy"].as_str().unwrap().is_empty());
    }
    bed.on("two", "systemctl stop squatter.service");
}

/// Exit code and what `--json` says.
fn diagnose(bed: &Bed, node: &str) -> (i32, Value) {
    let ran = bed.run(&["diagnose", node, "--twin", bed.twin(), "--json"]);
    let said = serde_json::from_str(&ran.stdout);
    (ran.code, said.unwrap_or_else(|_| panic!("{}", ran.stderr)))
}
