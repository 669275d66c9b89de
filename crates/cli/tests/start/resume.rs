//! A controller that is killed at bad moments, and a run that goes on all the same.

use std::collections::BTreeSet;
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bed::{Bed, FLEET, ran};
use crate::testers::{wait_for, wait_for_stack_attempt};

const RESUME: [&str; 2] = ["resume", "plain-udp"];

#[test]
fn a_killed_run_goes_on_and_comes_to_the_same_verdict() {
    let bed = Bed::new("killed", FLEET).up();
    let words: Vec<&str> = bed
        .start_words(&[])
        .into_iter()
        .map(|word| if word == "0" { "8s" } else { word })
        .collect();

    // In DEPLOY, among attempts, and in a wait, in which a host reboots besides.
    let child = bed.command(&words).spawn().unwrap();
    wait_for(&bed, "deployed");
    end(child);
    let child = bed.command(&RESUME).spawn().unwrap();
    wait_for_stack_attempt(&bed);
    end(child);
    let before = bed.journal();
    let child = bed.command(&RESUME).spawn().unwrap();
    wait_for(&bed, "wait_began");
    end(child);
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

    let last = bed.run(&RESUME);
    assert_eq!(last.code, 0, "{}\n{}", last.stdout, last.stderr);
    let journal = bed.journal();
    assert_eq!(
        journal[..before.len()],
        before[..],
        "what was written stays"
    );
    let count = |name: &str| journal.iter().filter(|e| e["event"] == name).count();
    assert_eq!((count("resumed"), count("judged")), (3, 2));
    every_attempt_counts_once(&bed, &journal);
    nothing_is_left(&bed);

    let again = bed.run(&RESUME);
    assert_eq!(again.code, 2, "{}", again.stderr);
    assert!(again.stderr.contains("COMPLETE"), "{}", again.stderr);
    let unknown = bed.run(&["resume", "plain-udb"]);
    assert!(
        unknown.stderr.contains("there are runs of plain-udp"),
        "{}",
        unknown.stderr
    );
}

fn end(mut child: Child) {
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    child.wait().unwrap();
}

fn every_attempt_counts_once(bed: &Bed, journal: &[Value]) {
    let ids = |event: &str| -> Vec<String> {
        let those = journal.iter().filter(|e| e["event"] == event);
        those
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (started, finished) = (ids("attempt_started"), ids("attempt_finished"));
    let interrupted = ids("attempt_interrupted");
    assert!(!interrupted.is_empty(), "it was killed among attempts");
    let unique: BTreeSet<&String> = started.iter().collect();
    assert_eq!(unique.len(), started.len(), "no id is used twice");
    let ended: BTreeSet<&String> = finished.iter().chain(&interrupted).collect();
    assert_eq!(ended.len(), finished.len() + interrupted.len());
    assert_eq!(ended, unique, "every attempt has one end");
    let proof = bed.proof();
    let proved = proof["attempts"].as_array().unwrap();
    assert_eq!(proved.len(), started.len(), "none is lost");
}

/// No session, socket or directory of a controller that is gone.
fn nothing_is_left(bed: &Bed) {
    let masters = std::process::Command::new("ps")
        .args(["-eo", "args"])
        .output()
        .unwrap();
    let masters = ran(&masters).stdout;
    let mine = format!("/{}/", bed.twin());
    let left: Vec<&str> = masters
        .lines()
        .filter(|line| line.starts_with("ssh ") && line.contains(&mine))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for name in ["scratch", "binaries", "proof.json.partial"] {
        assert!(
            bed.run_dir().join(name).symlink_metadata().is_err(),
            "{name}"
        );
    }
}

/// SSH is away for a while in a wait: nothing was seen to be ill, and the next TEST
/// has new sessions.
#[test]
fn ssh_that_is_dropped_during_a_wait_is_no_regression() {
    let bed = Bed::new("dropped", FLEET).up();
    let words: Vec<&str> = bed
        .start_words(&[])
        .into_iter()
        .map(|word| if word == "0" { "12s" } else { word })
        .collect();
    let child = bed.command(&words).spawn().unwrap();
    wait_for(&bed, "wait_began");
    // By the host itself, as nobody else can reach it then.
    let cut = "systemd-run -q --no-block sh -c \"sleep 0.5; nft add table inet cut; \
         nft add chain inet cut in '{ type filter hook input priority -300; }'; \
         nft add rule inet cut in tcp dport 22 reject with tcp reset; \
         sleep 6; nft delete table inet cut\"";
    for node in ["one", "cone", "port"] {
        bed.on(node, cut);
    }
    let ran = ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let journal = bed.journal();
    let count = |name: &str| journal.iter().filter(|e| e["event"] == name).count();
    assert_eq!(count("judged"), 2, "one cycle: {}", ran.stdout);
    nothing_is_left(&bed);
}

/// A tester that dies in a wait comes back by itself, and the run begins anew.
#[test]
fn a_tester_that_dies_in_a_wait_restarts_the_loop() {
    let bed = Bed::new("ill", FLEET).up();
    let words: Vec<&str> = bed
        .start_words(&[])
        .into_iter()
        .map(|word| if word == "0" { "10s" } else { word })
        .collect();
    let child = bed.command(&words).spawn().unwrap();
    wait_for(&bed, "probed");
    bed.on("cone", "systemctl kill -s KILL saorsa-test-plain");
    let ran = ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof();
    assert_eq!(proof["state"], "COMPLETE");
    let findings = proof["findings"].to_string();
    assert!(findings.contains("restarted"), "{findings}");
    let journal = bed.journal();
    let states: Vec<&str> = journal
        .iter()
        .filter(|e| e["event"] == "entered" || e["event"] == "wait_began")
        .map(|e| e["state"].as_str().unwrap())
        .collect();
    let restart = states.iter().position(|s| *s == "RESTART").unwrap();
    assert_eq!(
        states[restart - 1..restart + 2],
        ["WAIT_1HR", "RESTART", "SETUP"]
    );
    assert_eq!(states.last(), Some(&"TEST"));
}

/// Two controllers, one project, one fleet: the second is told who holds it.
#[test]
fn a_fleet_is_leased_to_one_controller_of_a_project() {
    let bed = Bed::new("lease", FLEET).up();
    let lease = "/var/lib/vps-test/leases/saorsa-test-plain";
    let hold = |seconds: i64| {
        bed.on(
            "two",
            &format!("mkdir -p $(dirname {lease}); echo $(($(date +%s) + {seconds})) eve@laptop:/runs/plain-udp > {lease}"),
        );
    };
    hold(600);
    let refused = bed.start();
    assert_eq!(refused.code, 4, "{}\n{}", refused.stdout, refused.stderr);
    assert!(
        refused
            .stdout
            .contains("two by eve@laptop:/runs/plain-udp until"),
        "{}",
        refused.stdout
    );
    assert_eq!(
        bed.on("one", "ls /var/lib/vps-test/leases 2>/dev/null; true")
            .trim(),
        ""
    );

    hold(-1);
    let taken_over = bed.run(&RESUME);
    assert_eq!(
        taken_over.code, 0,
        "{}\n{}",
        taken_over.stdout, taken_over.stderr
    );
    assert_eq!(
        bed.on("two", "ls /var/lib/vps-test/leases 2>/dev/null; true")
            .trim(),
        ""
    );
}

/// What could not be written did not happen; with room again, the run goes on.
#[test]
fn a_full_disk_under_the_run_ends_it_and_it_can_be_resumed() {
    let bed = Bed::new("full", FLEET).up();
    let state = bed.state();
    std::fs::create_dir_all(&state).unwrap();
    let disk = SmallDisk::mount(&state);
    let child = bed.command(&bed.start_words(&[])).spawn().unwrap();
    wait_for_stack_attempt(&bed);
    let fill = state.join("fill");
    std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=64k"])
        .arg(format!("of={}", fill.display()))
        .output()
        .unwrap();
    let ended = ran(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, 4, "{}\n{}", ended.stdout, ended.stderr);
    assert!(
        ended.stderr.contains("No space left on device"),
        "{}",
        ended.stderr
    );
    let before = bed.journal();
    std::fs::remove_file(fill).unwrap();
    let last = bed.run(&RESUME);
    assert_eq!(last.code, 0, "{}\n{}", last.stdout, last.stderr);
    assert_eq!(bed.journal()[..before.len()], before[..]);
    drop(disk);
}

/// A file system of its own, which goes with this value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Self {
        let made = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m", "vps-test-small"])
            .arg(at)
            .status()
            .unwrap();
        assert!(made.success());
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}
