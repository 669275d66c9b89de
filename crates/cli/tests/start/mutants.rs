//! Testers that are broken on purpose, in real runs: none of them may pass, and
//! each is found out for what it does. `crates/testnet/src/bin/mutant-test`
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

/// It says direct of all its connections; the packets say otherwise.
#[test]
fn a_relay_that_is_called_direct_fails() {
    let bed = Bed::new("relays", FLEET).up();
    let relays = run(&bed, "relays");
    assert_eq!(relays.code, 1, "{}\n{}", relays.stdout, relays.stderr);
    let attempts = stack_attempts(&bed);
    let relayed: Vec<_> = attempts
        .iter()
        .filter(|a| a["observed"]["path"] == "relayed")
        .collect();
    assert!(relayed.len() > attempts.len() / 2, "{}", relays.stdout);
    for attempt in relayed {
        assert_ne!(attempt["claimed"], "relayed", "{attempt}");
    }
    let findings = bed.proof()["findings"].to_string();
    assert!(
        findings.contains("the stack's claim differs from the counted packets"),
        "{findings}"
    );
    assert!(
        relays.stdout.contains("relayed"),
        "the screen says what is wrong: {}",
        relays.stdout
    );
}

/// Two in a hundred datagrams go missing on their way, and nobody has set that.
#[test]
fn a_network_that_loses_unasked_is_no_network_to_judge_by() {
    let bed = Bed::new("loses", FLEET).up();
    for node in ["hub", "one", "two", "cone", "port"] {
        bed.on(
            node,
            "nft add table ip t_lossy && \
             nft add chain ip t_lossy in '{ type filter hook prerouting priority -300; }' && \
             nft add rule ip t_lossy in numgen random mod 100 '<' 2 drop",
        );
    }
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    let findings = bed.proof().to_string();
    assert!(
        findings.contains("the network between hosts is not what it is set to be")
            && findings.contains("loss "),
        "{findings}"
    );
    assert!(stack_attempts(&bed).is_empty(), "nothing may be tested");
}

/// Peers have nowhere to register.
#[test]
fn a_registry_that_is_down_is_named() {
    let bed = Bed::new("unregistered", FLEET).up();
    let target = target(&bed, "udp-test");
    std::fs::write(target.join("vps-test-registry"), "#!/bin/sh\nexit 1\n").unwrap();
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("registry") && said.contains("hub"), "{said}");
    assert_ne!(bed.proof()["verdict"], "PASS");
}

/// It was there when peers registered, and goes while they are tested.
#[test]
fn a_registry_that_goes_down_is_named_too() {
    let bed = Bed::new("deregistered", FLEET).up();
    let child = bed.command(&bed.start_words(&[])).spawn().unwrap();
    crate::testers::wait_for_stack_attempt(&bed);
    bed.on("hub", "systemctl stop saorsa-test-registry.service");
    let ran = crate::bed::ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    let words = "the registry on hub does not answer any more";
    assert!(ran.stdout.contains(words), "{}\n{}", ran.stdout, ran.stderr);
    assert_ne!(bed.proof()["verdict"], "PASS");
}

fn run(bed: &Bed, mutation: &str) -> Ran {
    let name = format!("mutant-{mutation}");
    let target = target(bed, &name);
    std::fs::copy(built().join("mutant-test"), target.join(&name)).unwrap();
    bed.start()
}

/// A build directory of the bed's own, for a project whose tester is called so.
fn target(bed: &Bed, tester: &str) -> std::path::PathBuf {
    let target = bed.dir.path().join("target");
    std::fs::create_dir_all(&target).unwrap();
    for file in ["udp-test", "vps-test-registry"] {
        std::fs::copy(built().join(file), target.join(file)).unwrap();
    }
    bed.configure(tester, &target);
    target
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
