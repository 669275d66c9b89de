//! Testers that die, stop answering, or are the engineer's own.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::bed::{Bed, FLEET};

#[test]
fn a_service_that_dies_at_start_is_shown_with_its_last_words() {
    let bed = Bed::new("dies-at-start", FLEET).up();
    let target = bed.dir.path().join("target");
    std::fs::create_dir(&target).unwrap();
    for name in ["udp-test", "vps-test-registry"] {
        std::fs::copy(crate::bed::built().join(name), target.join(name)).unwrap();
    }
    let tester = target.join("broken-test");
    std::fs::write(
        &tester,
        "#!/bin/sh\necho 'the stack has no heart' >&2\nexit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&tester, std::fs::Permissions::from_mode(0o755)).unwrap();
    bed.configure("broken-test", &target);
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("service saorsa-test-plain"),
        "{}",
        ran.stdout
    );
    let proof = bed.proof();
    let findings = proof["findings"].to_string();
    assert!(findings.contains("the stack has no heart"), "{findings}");
}

#[test]
fn a_tester_that_stops_answering_fails_its_attempts_and_nothing_measured_is_lost() {
    let bed = Bed::new("silent", FLEET).up();
    let child = bed.command(&bed.start_words(&[])).spawn().unwrap();
    wait_for_stack_attempt(&bed);
    bed.on(
        "cone",
        "kill -STOP $(systemctl show -p MainPID --value saorsa-test-plain.service)",
    );
    let ran = crate::bed::ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof();
    assert_eq!(proof["verdict"], "FAIL");
    let attempts = proof["attempts"].as_array().unwrap();
    let failed = attempts
        .iter()
        .filter(|a| a["outcome"]["class"] == "stack_failure");
    let details: Vec<&str> = failed
        .filter_map(|a| a["outcome"]["detail"].as_str())
        .collect();
    let is_named = |detail: &&str| detail.contains("the tester on cone did not answer");
    assert!(details.iter().any(is_named), "{details:?}");
    let silent = attempts.iter().any(|a| {
        let sentence = a["explanation"]["sentence"].as_str().unwrap_or_default();
        a["explanation"]["cause"] == "tester_silent"
            && sentence.contains("the tester on cone did not answer")
    });
    assert!(silent, "its explanation names the tester");
    assert!(
        attempts
            .iter()
            .any(|a| a["outcome"]["class"] == "success" && a["matrix"] == "stack")
    );
}

/// Until the journal of the newest run holds such an event.
pub fn wait_for(bed: &Bed, event: &str) {
    wait_until(bed, |line| line.contains(&format!("\"event\":\"{event}\"")));
}

pub fn wait_for_stack_attempt(bed: &Bed) {
    wait_until(bed, |line| {
        line.contains("\"event\":\"attempt_finished\"") && line.contains("\"matrix\":\"stack\"")
    });
}

fn wait_until(bed: &Bed, is_it: impl Fn(&str) -> bool) {
    let journal = bed.run_dir().join("journal.jsonl");
    let began = Instant::now();
    while !std::fs::read_to_string(&journal)
        .unwrap_or_default()
        .lines()
        .any(&is_it)
    {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the event never came"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
