//! A run that passes, one that fails, one that is stopped: what each leaves.

use std::collections::BTreeSet;
use std::process::Command;

use model::proof::Proof;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bed::{Bed, FLEET, SYMMETRIC, built, criterion, node};

#[test]
fn plain_udp_passes_and_leaves_a_proof() {
    let bed = Bed::new("pass", FLEET).up();
    let ran = bed.start();
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    first_screen_tells_the_result(&ran.stdout);
    proof_is_complete(&bed);
    logs_and_metrics_are_there(&bed);
    a_second_run_sends_nothing(&bed);
    nodes_are_listed_with_their_state(&bed);
    crate::look::at_runs(&bed);
    crate::look::at_hosts(&bed);
    clean_leaves_nothing(&bed);
}

fn first_screen_tells_the_result(stdout: &str) {
    for part in [
        "✓ SETUP",
        "✓ DEPLOY",
        "✓ TEST",
        "✓ direct",
        "✓ nat_traversed",
        "95% interval",
        "PASS",
        "proof  ",
    ] {
        assert!(stdout.contains(part), "{part} in:\n{stdout}");
    }
    assert!(
        !stdout.contains('\u{1b}'),
        "no escape codes without a terminal"
    );
}

fn proof_is_complete(bed: &Bed) {
    let proof = bed.proof();
    assert_eq!(proof["verdict"], "PASS");
    assert_eq!(proof["project"], "plain-udp");
    assert_eq!(proof["focus"], "connectivity");
    assert_eq!(proof["state"], "COMPLETE");
    let matrix = proof["matrix"].as_array().unwrap();
    assert_eq!(matrix.len(), 4 * 3);
    assert!(
        matrix
            .iter()
            .all(|cell| cell["observed"] == "direct" && cell["reference"] == "direct")
    );
    let attempts = proof["attempts"].as_array().unwrap();
    let ids: BTreeSet<&str> = attempts.iter().map(|a| a["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), attempts.len());
    for name in ["direct", "nat_traversed"] {
        let criterion = criterion(&proof, name);
        assert_eq!(criterion["attempts"], criterion["successes"]);
        assert!(criterion["interval"][0].as_f64().unwrap() < 100.0);
    }
    let digest = hex::encode(Sha256::digest(
        std::fs::read(built().join("udp-test")).unwrap(),
    ));
    for (name, labelled) in [
        ("one", "none"),
        ("cone", "Full Cone (EIM/EIF)"),
        ("port", "Port Restricted (EIM/APDF)"),
    ] {
        let node = node(&proof, name);
        assert_eq!(node["digest"], digest.as_str());
        assert_eq!(node["nat"]["labelled"], labelled);
        if labelled != "none" {
            assert_eq!(node["nat"]["measured"], labelled);
        }
    }
    fits_the_published_schema(&proof);
    let documents = std::fs::read_dir(bed.run_dir())
        .unwrap()
        .filter_map(Result::ok);
    let names: Vec<String> = documents
        .map(|f| f.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        names
            .iter()
            .any(|n| n.starts_with("proof-") && n.ends_with(".md")),
        "{names:?}"
    );
}

/// The schema is generated from this type; `cargo xtask lint` compares the two.
fn fits_the_published_schema(proof: &Value) {
    let read: Proof = serde_json::from_value(proof.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), *proof);
}

fn logs_and_metrics_are_there(bed: &Bed) {
    let log =
        std::fs::read_to_string(bed.run_dir().join("logs/cone.saorsa-test-plain.log")).unwrap();
    assert!(log.contains("registered as"), "{log}");
    let metrics = std::fs::read_to_string(bed.run_dir().join("metrics/registry.json")).unwrap();
    assert!(metrics.contains("cone"), "{metrics}");
}

fn a_second_run_sends_nothing(bed: &Bed) {
    let first = std::fs::canonicalize(bed.run_dir()).unwrap();
    let ran = bed.run(&bed.start_words(&["--json"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_ne!(std::fs::canonicalize(bed.run_dir()).unwrap(), first);
    let printed: Vec<Value> = ran
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let journal = bed.journal();
    assert_eq!(
        printed[..journal.len()],
        journal[..],
        "--json prints the journal"
    );
    let sent: u64 = journal
        .iter()
        .filter_map(|e| e["sent_bytes"].as_u64())
        .sum();
    assert_eq!(sent, 0, "everything is there already");
}

fn nodes_are_listed_with_their_state(bed: &Bed) {
    let ran = bed.run(&["nodes", "--twin", bed.twin()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout.matches("ONLINE").count(), 5, "{}", ran.stdout);
    assert!(ran.stdout.contains("(NAT: Full Cone)"), "{}", ran.stdout);
}

fn clean_leaves_nothing(bed: &Bed) {
    let ran = bed.run(&["clean", "cone", "--twin", bed.twin(), "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let left = bed.on(
        "cone",
        "systemctl list-unit-files --no-legend | grep -c -e saorsa -e vps-test; ls -d /opt/saorsa-test /var/lib/vps-test /run/vps-test /run/netns/natbox 2>/dev/null; true",
    );
    assert_eq!(left.trim(), "0", "something is left");
    assert!(
        bed.on("port", "ls /opt/saorsa-test").contains("udp-test"),
        "only the named node is cleaned"
    );
    let ran = bed.run(&["clean", "coone", "--twin", bed.twin(), "--yes"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("did you mean `cone`?"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_stack_without_a_relay_fails_where_only_a_relay_would_do() {
    let bed = Bed::new("fail", &format!("{FLEET}{SYMMETRIC}")).up();
    let ran = bed.run(&bed.start_words(&["--cross-check"]));
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof();
    assert_eq!(proof["verdict"], "FAIL");
    assert_eq!(criterion(&proof, "relay")["verdict"], "FAIL");
    assert_eq!(criterion(&proof, "direct")["verdict"], "PASS");
    assert!(
        ran.stdout.contains("port → hard"),
        "the worst cells are named:\n{}",
        ran.stdout
    );
    assert_eq!(
        node(&proof, "hard")["nat"]["measured"],
        "Symmetric (APDM/APDF)"
    );
    both_counts_agree(&proof);
    let not_predicted = proof["attempts"].as_array().unwrap().iter().filter(|a| {
        let sentence = a["explanation"]["sentence"].as_str().unwrap_or_default();
        a["explanation"]["cause"] == "port_not_predicted"
            && sentence.contains("hard's NAT (APDM/APDF) gives each destination its own port")
            && sentence.contains("port's NAT (EIM/APDF) lets in only what was sent to")
    });
    assert!(not_predicted.count() >= 2, "both cells between the two");
}

/// The twin's internet and the hosts themselves count the same packets.
pub fn both_counts_agree(proof: &Value) {
    for attempt in proof["attempts"].as_array().unwrap() {
        let observed = &attempt["observed"];
        assert_ne!(observed["path"], "unmeasured", "{attempt}");
        assert_eq!(observed["witness"], observed["path"], "{attempt}");
        assert_ne!(attempt["outcome"]["class"], "infrastructure", "{attempt}");
    }
}

#[test]
fn two_counts_that_differ_are_not_believed() {
    let bed = Bed::new("counts", FLEET).up();
    // A host that counts nothing of what comes in, from the first attempt on.
    let child = bed
        .command(&bed.start_words(&["--cross-check"]))
        .spawn()
        .unwrap();
    crate::testers::wait_for(&bed, "attempt_started");
    bed.on(
        "port",
        "nft flush chain inet vps_test_counters arrived; nft flush set inet vps_test_counters arrived4",
    );
    let ran = crate::bed::ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    let counts = "two counts of the same packets differ: direct";
    assert!(ran.stdout.contains(counts), "{}", ran.stdout);
}

#[test]
fn a_soak_tests_again_after_each_wait() {
    let bed = Bed::new("soak", FLEET).up();
    let words: Vec<String> = bed
        .start_words(&[])
        .iter()
        .map(|w| (*w).to_owned())
        .collect();
    let words: Vec<&str> = words
        .iter()
        .map(|w| if w == "0" { "2s,2s" } else { w.as_str() })
        .collect();
    let ran = bed.run(&words);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let journal = bed.journal();
    let waits: Vec<&str> = journal
        .iter()
        .filter(|e| e["event"] == "wait_began")
        .map(|e| e["state"].as_str().unwrap())
        .collect();
    assert_eq!(waits, ["WAIT_1HR", "WAIT_6HR"]);
    assert_eq!(journal.iter().filter(|e| e["event"] == "judged").count(), 3);
    assert_eq!(bed.proof()["state"], "COMPLETE");
}

#[test]
fn a_run_that_is_stopped_keeps_what_was_measured() {
    let bed = Bed::new("stop", FLEET).up();
    let mut started: Command = bed.command(&bed.start_words(&[]));
    let child = started.spawn().unwrap();
    crate::testers::wait_for(&bed, "attempt_finished");
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let ran = crate::bed::ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 3, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof();
    assert_eq!(proof["state"], "STOPPED");
    assert_eq!(proof["verdict"], "INCONCLUSIVE");
    assert!(!proof["attempts"].as_array().unwrap().is_empty());
    assert!(
        bed.journal()
            .iter()
            .any(|e| e["event"] == "stopped" && e["cause"] == "requested")
    );
}
