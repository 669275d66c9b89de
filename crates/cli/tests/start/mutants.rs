//! Testers that are broken on purpose, in real runs: none of them may pass, and
//! each is found out for what it does. `crates/testnet/src/bin/mutant-test.rs`
//! says how they are broken.

use serde_json::Value;

use crate::bed::{Bed, FLEET, Ran, built};

/// One twin for all of them: each is another executable of the same project.
#[test]
fn no_mutant_passes() {
    let bed = Bed::new("mutants", FLEET).up();

    let honest = run(&bed, "honest");
    assert_eq!(
        honest.code, 0,
        "the proxy itself is to blame: {}",
        honest.stdout
    );

    let hollow = run(&bed, "hollow");
    assert_eq!(hollow.code, 1, "{}", hollow.stdout);
    assert!(
        all_fail_with(&bed, "digests do not match"),
        "{}",
        hollow.stdout
    );

    let stale = run(&bed, "stale");
    assert_eq!(stale.code, 4, "{}", stale.stdout);
    assert!(
        bed.proof()["findings"]
            .to_string()
            .contains("what would be tested is not what was built"),
        "{}",
        stale.stdout
    );
    assert!(stack_attempts(&bed).is_empty(), "nothing may be tested");

    let stops = run(&bed, "stops");
    assert!(
        [1, 3, 4].contains(&stops.code),
        "{}: {}",
        stops.code,
        stops.stdout
    );
    assert_ne!(bed.proof()["verdict"], "PASS");
    let proof = bed.proof().to_string();
    assert!(
        proof.contains("closed its socket") || proof.contains("cannot reach the tester"),
        "{}",
        stops.stdout
    );

    let drops = run(&bed, "drops");
    assert!(
        [1, 3].contains(&drops.code),
        "{}: {}",
        drops.code,
        drops.stdout
    );
    assert_ne!(bed.proof()["verdict"], "PASS");
    assert!(
        bed.proof().to_string().contains("did not answer"),
        "{}",
        drops.stdout
    );
}

fn run(bed: &Bed, mutation: &str) -> Ran {
    let name = format!("mutant-{mutation}");
    let target = bed.dir.path().join("target");
    std::fs::create_dir_all(&target).unwrap();
    for file in ["udp-test", "vps-test-registry"] {
        std::fs::copy(built().join(file), target.join(file)).unwrap();
    }
    std::fs::copy(built().join("mutant-test"), target.join(&name)).unwrap();
    bed.configure(&name, &target);
    bed.start()
}

fn stack_attempts(bed: &Bed) -> Vec<Value> {
    let proof = bed.proof();
    let attempts = proof["attempts"].as_array().unwrap();
    attempts
        .iter()
        .filter(|a| a["matrix"] == "stack")
        .cloned()
        .collect()
}

fn all_fail_with(bed: &Bed, words: &str) -> bool {
    let attempts = stack_attempts(bed);
    let has = |a: &Value| {
        a["outcome"]["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains(words))
    };
    !attempts.is_empty() && attempts.iter().all(has)
}
