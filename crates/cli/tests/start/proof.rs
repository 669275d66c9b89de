//! What a run leaves for others: parked for a person, signed, judged again, and
//! without a secret in any file.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bed::{Bed, FLEET, Ran, built, ran};

/// Planted in the environment, the config, a service's log and a build's output.
const SECRETS: [&str; 5] = [
    "planted-in-environment",
    "planted-in-config",
    "planted-in-header",
    "planted-in-key",
    "planted-in-build",
];

#[test]
fn a_run_is_confirmed_signed_and_judged_again_and_keeps_no_secret() {
    let bed = Bed::new("proof", FLEET).up();
    let key = key(&bed);
    with_a_secret_in_its_build_command(&bed);
    parks_for_a_person(&bed, &key);
    verifies(&bed, "INCONCLUSIVE");
    is_confirmed(&bed);
    is_signed_again(&bed, &key);
    holds_no_secret(&bed);
    an_edited_log_is_noticed(&bed);
    is_rejected(&bed);
    a_build_that_fails_keeps_its_secrets_to_itself(&bed);
}

fn key(bed: &Bed) -> String {
    let key = bed.dir.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "me", "-f"])
        .arg(&key)
        .status()
        .unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(bed.dir.path().join("signers"), format!("me {public}")).unwrap();
    key.display().to_string()
}

fn build_with(bed: &Bed, command: &str) {
    let config = std::fs::read_to_string(bed.dir.path().join("vps-test.yaml")).unwrap();
    let before = config.split("command: '").nth(1).unwrap();
    let before = before.split('\'').next().unwrap();
    bed.write_config(&config.replace(&format!("'{before}'"), &format!("'{command}'")));
}

fn with_a_secret_in_its_build_command(bed: &Bed) {
    build_with(bed, "env API_KEY=planted-in-config true");
}

fn until_a_person_has_looked<'a>(bed: &'a Bed, more: &[&'a str]) -> Vec<&'a str> {
    let words = bed.start_words(more).into_iter();
    words
        .map(|word| match word {
            "all-evidence" => "manual-verify",
            other => other,
        })
        .collect()
}

fn parks_for_a_person(bed: &Bed, key: &str) {
    let mut command = bed.command(&until_a_person_has_looked(bed, &["--sign", key]));
    command.env("DEPLOY_TOKEN", "planted-in-environment");
    let child = command.spawn().unwrap();
    crate::testers::wait_for(bed, "attempt_finished");
    log_secrets(bed, "cone");
    let ended = ran(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, 3, "{}\n{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("vps-test confirm plain-udp"),
        "{}",
        ended.stdout
    );
    let proof = bed.proof();
    assert_eq!(proof["state"], "STOPPED");
    assert_eq!(proof["verdict"], "INCONCLUSIVE");
    assert_eq!(proof["criteria"][0]["verdict"], "PASS");
}

/// As the unit itself would: systemd takes root's word on whose lines they are.
fn log_secrets(bed: &Bed, node: &str) {
    bed.on(
        node,
        "for line in 'DEPLOY: planted-in-environment' 'Authorization: Bearer planted-in-header' \
         '-----BEGIN OPENSSH PRIVATE KEY----- planted-in-key -----END OPENSSH PRIVATE KEY-----' 'the last line'; do \
         printf 'MESSAGE=%s\\nOBJECT_SYSTEMD_UNIT=saorsa-test-plain.service\\n' \"$line\" | logger --journald; done",
    );
}

fn verify(bed: &Bed, more: &[&str]) -> Ran {
    bed.run(&[&["verify", "plain-udp"], more].concat())
}

fn verifies(bed: &Bed, verdict: &str) {
    let ran = verify(bed, &["--json", "--signers", "signers"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["verdict"], verdict);
    let statuses: Vec<&str> = said["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["status"].as_str().unwrap())
        .collect();
    assert!(statuses.iter().all(|s| *s == "matches"), "{}", ran.stdout);
    let checked = Command::new("sha256sum")
        .args(["--check", "--quiet", "MANIFEST"])
        .current_dir(bed.run_dir())
        .status()
        .unwrap();
    assert!(checked.success());
}

fn is_confirmed(bed: &Bed) {
    let ran = bed.run(&["confirm", "plain-udp", "--by", "ada"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof();
    assert_eq!(proof["state"], "COMPLETE");
    assert_eq!(proof["verdict"], "PASS");
    assert_eq!(proof["review"]["by"], "ada");
    assert_eq!(proof["review"]["decision"], "confirmed");
    let again = bed.run(&["confirm", "plain-udp"]);
    assert_eq!(again.code, 2, "nothing waits any more: {}", again.stderr);
}

fn is_signed_again(bed: &Bed, key: &str) {
    let unsigned = verify(bed, &["--signers", "signers"]);
    assert_eq!(unsigned.code, 1, "the signature was of another end");
    let ran = bed.run(&["sign", "plain-udp", "--key", key]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    verifies(bed, "PASS");
}

fn holds_no_secret(bed: &Bed) {
    let dir = std::fs::canonicalize(bed.run_dir()).unwrap();
    let log = std::fs::read_to_string(dir.join("logs/cone.saorsa-test-plain.log")).unwrap();
    assert!(
        log.contains("the last line") && log.contains("[redacted"),
        "the lines were planted:\n{log}"
    );
    assert_eq!(secrets_in(&dir), Vec::<String>::new());
}

fn secrets_in(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(secrets_in(&entry.path()));
            continue;
        }
        let content = std::fs::read(entry.path()).unwrap();
        let text = String::from_utf8_lossy(&content);
        let there = SECRETS.iter().filter(|secret| text.contains(**secret));
        found.extend(there.map(|secret| format!("{secret} in {}", entry.path().display())));
    }
    found
}

fn an_edited_log_is_noticed(bed: &Bed) {
    let log = bed.run_dir().join("logs/cone.saorsa-test-plain.log");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("the last line", "the last lie", 1)).unwrap();
    let ran = verify(bed, &[]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("logs/cone.saorsa-test-plain.log was changed"),
        "{}",
        ran.stdout
    );
    assert_eq!(bed.run(&["verify", "nothing-of-this-name"]).code, 2);
}

fn is_rejected(bed: &Bed) {
    let parked = bed.run(&until_a_person_has_looked(bed, &[]));
    assert_eq!(parked.code, 3, "{}\n{}", parked.stdout, parked.stderr);
    let silent = bed.run(&["confirm", "plain-udp", "--reject"]);
    assert_eq!(
        silent.code, 2,
        "whoever rejects says why: {}",
        silent.stderr
    );
    let why = "the latencies are not believable";
    let ran = bed.run(&[
        "confirm",
        "plain-udp",
        "--reject",
        "--reason",
        why,
        "--by",
        "ada",
    ]);
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(why), "{}", ran.stdout);
    let proof = bed.proof();
    assert_eq!(proof["state"], "STOPPED");
    assert_eq!(proof["verdict"], "FAIL");
    assert_eq!(proof["review"]["decision"], "rejected");
    assert_eq!(proof["review"]["reason"], why);
    assert_eq!(proof["review"]["via"], "terminal");
    assert_eq!(
        proof["criteria"][0]["verdict"], "PASS",
        "the data are as they were"
    );
    let verified = verify(bed, &["--json"]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
    let page = std::fs::read_to_string(bed.run_dir().join("proof.html")).unwrap();
    assert!(page.contains("rejected by") && page.contains(why));
}

fn a_build_that_fails_keeps_its_secrets_to_itself(bed: &Bed) {
    bed.configure("udp-test", &built());
    build_with(bed, "sh -c \"echo password=planted-in-build >&2; exit 1\"");
    let ran = bed.start();
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    let dir = std::fs::canonicalize(bed.run_dir()).unwrap();
    let journal = std::fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    assert!(journal.contains("password=[redacted]"), "{journal}");
    assert_eq!(secrets_in(&dir), Vec::<String>::new());
    assert!(!ran.stdout.contains("planted-in-build"), "{}", ran.stdout);
}
