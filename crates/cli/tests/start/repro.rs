//! `vps-test repro`: a red run's attempt is red again on the smallest twin.

use serde_json::Value;

use crate::bed::{Bed, FLEET, built};

#[test]
fn a_failed_attempt_fails_again_on_a_twin_of_its_pair() {
    let bed = Bed::new("repro", FLEET).up();
    red_run(&bed);
    let attempt = failed(&bed.proof(), "one", "cone");
    let id = attempt["id"].as_str().unwrap();

    let told = bed.run(&["repro", "plain-udp", id]);
    assert_eq!(told.code, 0, "{}\n{}", told.stdout, told.stderr);
    for part in [
        "one → cone",
        "digests do not match",
        "one, cone: the two ends",
        "two: whom they meet through",
        "mutant-hollow",
        "vps-test start plain-udp connectivity threshold all-evidence --yes --soak 0 --twin repro-",
    ] {
        assert!(told.stdout.contains(part), "{part} in\n{}", told.stdout);
    }
    let dir = bed.dir.path().join(format!("repro-{id}"));
    let inventory = std::fs::read_to_string(dir.join("fleets/small.yaml")).unwrap();
    assert!(!inventory.contains("port-restricted") && !inventory.contains("hub"));

    let again = bed.run(&["repro", "plain-udp", id, "--run"]);
    assert_eq!(again.code, 1, "{}\n{}", again.stdout, again.stderr);
    assert!(
        again.stdout.contains("it showed again: ")
            && again
                .stdout
                .contains("attempts one → cone failed for the same reason"),
        "{}",
        again.stdout
    );
    the_same_tester_was_tried(&bed, &dir);

    for (words, part) in [
        (
            ["repro", "plain-udp", "nothing"],
            "has no attempt `nothing`",
        ),
        (["repro", "plain-udp", "stack-"], "is a part of"),
        (["repro", "other", id], "holds no run of `other`"),
    ] {
        let ran = bed.run(&words);
        assert_eq!(ran.code, 2, "{}", ran.stdout);
        assert!(ran.stderr.contains(part), "{part} in\n{}", ran.stderr);
    }
}

/// `mutant-hollow` sends other bytes than it was asked to.
fn red_run(bed: &Bed) {
    let target = bed.dir.path().join("target");
    std::fs::create_dir_all(&target).unwrap();
    for name in ["udp-test", "vps-test-registry"] {
        std::fs::copy(built().join(name), target.join(name)).unwrap();
    }
    std::fs::copy(built().join("mutant-test"), target.join("mutant-hollow")).unwrap();
    bed.configure("mutant-hollow", &target);
    let ran = bed.start();
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .contains("again: vps-test repro plain-udp stack-"),
        "{}",
        ran.stdout
    );
    // What is built later is another matter.
    std::fs::remove_dir_all(&target).unwrap();
}

fn failed(proof: &Value, from: &str, to: &str) -> Value {
    let attempts = proof["attempts"].as_array().unwrap();
    let is_it = |a: &&Value| a["matrix"] == "stack" && a["from"] == from && a["to"] == to;
    attempts.iter().find(is_it).unwrap().clone()
}

fn the_same_tester_was_tried(bed: &Bed, dir: &std::path::Path) {
    let text = std::fs::read_to_string(dir.join("runs/plain-udp/latest/proof.json")).unwrap();
    let proof: Value = serde_json::from_str(&text).unwrap();
    let digest = |proof: &Value| crate::bed::node(proof, "cone")["digest"].clone();
    assert_eq!(digest(&proof), digest(&bed.proof()));
    let attempts = proof["attempts"].as_array().unwrap();
    let ends = |a: &Value| [a["from"].clone(), a["to"].clone()];
    let pair = ["one", "cone"];
    assert!(attempts.iter().all(|a| {
        ends(a)
            .iter()
            .all(|end| pair.contains(&end.as_str().unwrap()))
    }));
}
