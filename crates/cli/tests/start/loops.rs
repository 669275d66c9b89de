//! Who runs a project: in the background, refused twice, stopped, killed.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Bed, FLEET};

/// What `status --json` says of the project.
fn status(bed: &Bed) -> Value {
    let ran = bed.run(&["status", "plain-udp", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let all: Value = serde_json::from_str(&ran.stdout).unwrap();
    all[0].clone()
}

fn wait_until(bed: &Bed, state: &str) {
    let began = Instant::now();
    while status(bed)["state"] != state {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "no {state}: {}",
            status(bed)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_run_in_the_background_is_watched_refused_twice_and_stopped() {
    let bed = Bed::new("detached", FLEET);
    let words = bed.start_words(&["--detach"]);
    let words: Vec<&str> = words
        .iter()
        .map(|word| if *word == "0" { "300s" } else { *word })
        .collect();
    let ran = bed.run(&words);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let pid = status(&bed)["pid"].to_string();
    assert!(
        ran.stdout.contains(&format!("process {pid}")),
        "{}",
        ran.stdout
    );
    assert_eq!(status(&bed)["alive"], true);

    let second = bed.start();
    assert_eq!(second.code, 2, "{}\n{}", second.stdout, second.stderr);
    assert!(
        second
            .stderr
            .contains(&format!("plain-udp runs already in process {pid}")),
        "{}",
        second.stderr
    );

    wait_until(&bed, "WAIT_1HR");
    let waiting = status(&bed);
    assert_eq!(waiting["next"]["what"], "TEST");
    assert_eq!(
        (&waiting["passed"], &waiting["passes"]),
        (&1.into(), &2.into())
    );
    let screen = bed.run(&["status"]).stdout;
    for part in ["WAIT_1HR", "TEST at", "1 of 2 passed", &pid] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    let output = std::fs::read_to_string(bed.run_dir().join("output.log")).unwrap();
    assert!(output.contains("✓ DEPLOY"), "{output}");

    let stop = bed.run(&["stop", "plain-udp"]);
    assert_eq!(stop.code, 0, "{}", stop.stderr);
    assert!(
        stop.stdout.contains("plain-udp is STOPPED"),
        "{}",
        stop.stdout
    );
    assert!(
        stop.stdout.contains("went with the twin"),
        "{}",
        stop.stdout
    );
    let after = status(&bed);
    assert_eq!(
        (&after["alive"], &after["state"]),
        (&false.into(), &"STOPPED".into())
    );
    assert!(!bed.state().join("plain-udp/claim.json").exists());
    let twin = bed.run(&["lab", "status", "--name", bed.twin()]);
    assert_ne!(
        twin.code, 0,
        "a twin that was booted for the run goes with it"
    );

    let again = bed.run(&["stop", "plain-udp"]);
    assert_eq!(again.code, 2, "{}", again.stdout);
    assert!(
        again.stderr.contains("nothing runs plain-udp"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_killed_run_is_seen_to_be_dead_and_holds_nothing() {
    let bed = Bed::new("gone", FLEET).up();
    let mut child = bed.command(&bed.start_words(&[])).spawn().unwrap();
    crate::testers::wait_for(&bed, "attempt_finished");
    assert_eq!(status(&bed)["alive"], true);
    let killed = Command::new("kill")
        .args(["-KILL", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    child.wait().unwrap();

    assert_eq!(status(&bed)["alive"], false);
    let screen = bed.run(&["status"]).stdout;
    assert!(screen.contains("its process is gone"), "{screen}");
    let ran = bed.start();
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
}

#[test]
fn a_start_in_the_background_that_cannot_begin_says_why() {
    let bed = Bed::new("cannot", FLEET);
    let words = bed.start_words(&["--detach"]);
    // No `ip`, no twin.
    let ran = bed
        .command(&words)
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let ran = crate::bed::ran(&ran);
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stderr.contains("plain-udp did not begin"),
        "{}",
        ran.stderr
    );
    assert_eq!(bed.run(&["status"]).code, 0);
}
