//! A tester in another language, as docs/bring-your-own-stack.md has it: the example,
//! unchanged, passes its suites, and what a newcomer gets wrong is said in words.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bed::{Bed, FLEET, SYMMETRIC, criterion, node};

#[test]
fn a_script_passes_connectivity_and_its_own_suite() {
    let bed = Bed::new("own", &format!("{FLEET}{SYMMETRIC}")).up();
    let script = project(&bed);
    let ran = start(&bed, "full-suite");
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof_of("punch");
    assert_eq!(proof["verdict"], "PASS");
    assert!(
        proof["findings"].as_array().unwrap().is_empty(),
        "{}",
        proof["findings"]
    );
    runs_what_was_written(&proof, &script);
    took_the_paths_that_it_says(&proof);
    measured_its_own_suite(&proof);
    is_told_what_is_wrong(&bed, &script);
}

/// Nothing in it is about a family: `bind` and the coordinators say which it is.
#[test]
fn the_same_script_speaks_ipv6() {
    let bed = Bed::new("own6", crate::ipv6::FLEET).up();
    project(&bed);
    let file = bed.dir.path().join("vps-test.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    bed.write_config(&text.replace("connectivity: { ", "connectivity: { families: [ipv6], "));
    let ran = start(&bed, "full-suite");
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof_of("punch");
    for name in ["direct_ipv6", "nat_traversed_ipv6", "echoed"] {
        assert_eq!(criterion(&proof, name)["verdict"], "PASS", "{}", ran.stdout);
    }
    let attempts = proof["attempts"].as_array().unwrap();
    assert!(attempts.iter().all(|attempt| attempt["family"] == "ipv6"));
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/python")
}

/// The example's two files; margins that make a verdict quick are all that is added.
fn project(bed: &Bed) -> PathBuf {
    let config = std::fs::read_to_string(example().join("vps-test.yaml")).unwrap();
    let quick = "tests: { connectivity: { margins: { direct: 40, nat_traversed: 40, relay: 40 }, timeout_seconds: 2 } }\n";
    bed.write_config(&format!("{config}\n{quick}"));
    let script = bed.dir.path().join("punch-test");
    std::fs::copy(example().join("punch-test"), &script).unwrap();
    script
}

fn start(bed: &Bed, focus: &str) -> crate::bed::Ran {
    let words = ["start", "punch", focus, "threshold", "all-evidence"];
    let more = ["--yes", "--soak", "0", "--twin", bed.twin()];
    bed.run(&[&words[..], &more].concat())
}

fn runs_what_was_written(proof: &Value, script: &Path) {
    let digest = hex::encode(Sha256::digest(std::fs::read(script).unwrap()));
    for name in ["one", "two", "cone", "port", "hard"] {
        assert_eq!(node(proof, name)["digest"], digest.as_str(), "{name}");
    }
    let coordinator = &node(proof, "one")["services"]["saorsa-test-punch-coordinator.service"];
    assert_eq!(coordinator, digest.as_str());
}

fn took_the_paths_that_it_says(proof: &Value) {
    let attempts = proof["attempts"].as_array().unwrap();
    let stack: Vec<&Value> = attempts.iter().filter(|a| a["matrix"] == "stack").collect();
    assert!(stack.len() >= 20, "{}", stack.len());
    for attempt in &stack {
        let observed = match attempt["claimed"].as_str().unwrap() {
            "relayed" => "relayed",
            "direct" | "punched" => "direct",
            other => panic!("it claims {other}: {attempt}"),
        };
        assert_eq!(attempt["observed"]["path"], observed, "{attempt}");
    }
    let claims = |word: &str| stack.iter().filter(|a| a["claimed"] == word).count();
    for word in ["direct", "punched", "relayed"] {
        assert!(claims(word) > 0, "nothing was {word}");
    }
}

/// With a partition, a crash and a count of the wire in it.
fn measured_its_own_suite(proof: &Value) {
    for name in ["echoed", "separated", "steps_done"] {
        let result = criterion(proof, name);
        assert_eq!(result["verdict"], "PASS", "{result}");
    }
    let measured = proof["measured"].as_array().unwrap();
    let of = |name: &str| measured.iter().filter(|m| m["measure"] == name).count();
    assert!(of("echo_ms") > 0 && of("separated") > 0);
    let bytes = measured.iter().find(|m| m["measure"] == "echo_bytes");
    let bytes = bytes.unwrap()["samples"][0].as_f64().unwrap();
    // A probe and its answer are 69 and some 90 bytes with their headers; the relay
    // carries some twice, and the ways have to be found first.
    assert!((20.0..2000.0).contains(&bytes), "{bytes}");
    let killed = measured
        .iter()
        .filter(|m| m["conditions"]["step"] == "kill");
    assert!(killed.count() > 0);
}

/// The twin is up and the services run: each of these is refused before it is sent.
fn is_told_what_is_wrong(bed: &Bed, script: &Path) {
    let text = std::fs::read_to_string(script).unwrap();
    let with = |first_line: &str| {
        let rest = text.split_once('\n').unwrap().1;
        std::fs::write(script, format!("{first_line}\n{rest}")).unwrap();
        let ran = start(bed, "connectivity");
        assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
        ran.stdout
    };
    let said = with("#!/usr/bin/env python9");
    let expected = "cone: `punch-test` is a script for `python9` (its first line is `#!/usr/bin/env python9`), which the host does not have";
    assert!(said.contains(expected), "{said}");
    let said = with("#!/usr/bin/env python3\r");
    assert!(said.contains("ends with a carriage return"), "{said}");
    let said = with("import sys");
    assert!(
        said.contains("neither an executable of Linux nor a script"),
        "{said}"
    );
    std::fs::remove_file(script).unwrap();
    let ran = start(bed, "connectivity");
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("there is no `punch-test` in"),
        "{}",
        ran.stdout
    );
}
