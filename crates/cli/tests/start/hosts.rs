//! Hosts that cannot take part are degraded and shown; the others go on.

use crate::bed::{Bed, FLEET, node};

/// One of five is broken: the run goes on, and says so.
fn goes_on_without(bed: &Bed, broken: &str, because: &[&str]) {
    let ran = bed.start();
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains(&format!("{broken} is degraded")),
        "{}",
        ran.stdout
    );
    let proof = bed.proof();
    let reached = node(&proof, broken)["reached"].as_str().unwrap();
    for part in because {
        assert!(reached.contains(part), "{part} in: {reached}");
    }
    let findings = proof["findings"].to_string();
    assert!(
        findings.contains(&format!("{broken} took no part")),
        "{findings}"
    );
    let cells = proof["matrix"].as_array().unwrap();
    let absent = cells
        .iter()
        .filter(|cell| cell["from"] == broken || cell["to"] == broken);
    assert!(absent.clone().count() > 0);
    assert!(
        absent
            .clone()
            .all(|cell| cell["observed"] == "unmeasured" && cell["attempts"] == 0)
    );
}

#[test]
fn a_closed_ssh_port() {
    let bed = Bed::new("ssh", FLEET).up();
    bed.on("two", "systemctl stop ssh.service");
    goes_on_without(&bed, "two", &["two cannot be reached", "try by hand: ssh"]);
}

#[test]
fn a_changed_host_key() {
    let bed = Bed::new("key", FLEET).up();
    bed.on(
        "two",
        "rm /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; systemctl restart ssh.service",
    );
    goes_on_without(
        &bed,
        "two",
        &["host key of two has changed", "ssh-keygen -f"],
    );
}

#[test]
fn a_full_disk() {
    let bed = Bed::new("disk", FLEET).up();
    bed.on(
        "two",
        "fallocate -l $(($(df -B1 --output=avail / | tail -n 1) - 50000000)) /fill",
    );
    goes_on_without(
        &bed,
        "two",
        &["/opt/saorsa-test/", "MiB free", "MiB are needed"],
    );
}

#[test]
fn a_port_that_is_taken() {
    let bed = Bed::new("taken", FLEET).up();
    bed.on(
        "two",
        "systemd-run -q --unit squatter socat -u UDP-RECV:9000 OPEN:/dev/null && sleep 0.3",
    );
    goes_on_without(&bed, "two", &["port 9000 is taken by", "socat"]);
}

#[test]
fn under_half_of_the_nodes_there_is_no_run() {
    let bed = Bed::new("half", FLEET).up();
    for node in ["one", "two", "cone"] {
        bed.on(node, "systemctl stop ssh.service");
    }
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("only 2 of 5 nodes can be used"),
        "{}",
        ran.stdout
    );
    assert_eq!(bed.proof()["verdict"], "INCONCLUSIVE");
}

#[test]
fn a_host_that_dies_in_the_middle_is_not_the_stacks_failure() {
    let bed = Bed::new("dies", FLEET).up();
    let child = bed.command(&bed.start_words(&[])).spawn().unwrap();
    crate::testers::wait_for_stack_attempt(&bed);
    bed.run(&[
        "lab",
        "exec",
        "--name",
        bed.twin(),
        "cone",
        "--",
        "systemctl",
        "poweroff",
        "--force",
        "--force",
    ]);
    let ran = crate::bed::ran(&child.wait_with_output().unwrap());
    let proof = bed.proof();
    let attempts = proof["attempts"].as_array().unwrap();
    let blamed = attempts
        .iter()
        .filter(|a| a["from"] == "cone" || a["to"] == "cone")
        .filter(|a| a["outcome"]["class"] == "stack_failure");
    assert_eq!(blamed.count(), 0, "{}", ran.stdout);
    assert!(
        proof["findings"].to_string().contains("cone took no part"),
        "{}",
        proof["findings"]
    );
}

#[test]
fn a_host_that_reboots_during_a_wait_is_back_for_the_next_test() {
    let bed = Bed::new("reboots", FLEET).up();
    let words = bed.start_words(&[]);
    let words: Vec<&str> = words
        .iter()
        .map(|word| if *word == "0" { "6s" } else { *word })
        .collect();
    let child = bed.command(&words).spawn().unwrap();
    crate::testers::wait_for(&bed, "wait_began");
    bed.run(&[
        "lab",
        "exec",
        "--name",
        bed.twin(),
        "cone",
        "--",
        "systemctl",
        "reboot",
    ]);
    let ran = crate::bed::ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let judged = bed.journal();
    let judged = judged.iter().filter(|e| e["event"] == "judged");
    assert_eq!(judged.count(), 2);
    assert!(bed.proof()["findings"].as_array().unwrap().is_empty());
}
