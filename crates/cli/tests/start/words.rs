//! What is wrong with a command line or a file is said before anything is touched.

use crate::bed::{Bed, FLEET};

fn start(bed: &Bed, words: [&str; 4]) -> crate::bed::Ran {
    let words = [
        &["start"][..],
        &words,
        &["--yes", "--soak", "0", "--twin", bed.twin()],
    ]
    .concat();
    bed.run(&words)
}

#[test]
fn an_unknown_word_is_answered_with_the_nearest_one() {
    let bed = Bed::new("words", FLEET);
    for (words, near) in [
        (
            ["plain-upd", "connectivity", "threshold", "logs"],
            "plain-udp",
        ),
        (
            ["plain-udp", "conectivity", "threshold", "logs"],
            "connectivity",
        ),
        (
            ["plain-udp", "connectivity", "treshold", "logs"],
            "threshold",
        ),
        (["plain-udp", "connectivity", "threshold", "log"], "logs"),
    ] {
        let ran = start(&bed, words);
        assert_eq!(ran.code, 2, "{words:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("did you mean `{near}`?")),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_focus_that_the_project_has_no_suite_for_is_refused() {
    let bed = Bed::new("unbuilt", FLEET);
    let ran = start(&bed, ["plain-udp", "gossip", "threshold", "logs"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("unknown focus `gossip`")
            && ran.stderr.contains("it is one of connectivity, full-suite"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_missing_word_is_named_with_what_it_may_be() {
    let bed = Bed::new("missing", FLEET);
    let ran = bed.run(&["start", "plain-udp", "--yes"]);
    assert_eq!(ran.code, 2);
    for part in [
        "`--yes` needs all four words; missing: focus, criteria, proof",
        "focus: connectivity, nat-traversal",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let ran = bed.run(&["start", "plain-udp"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("which focus?"), "{}", ran.stderr);
}

#[test]
fn a_plan_that_nobody_confirms_is_not_run() {
    let bed = Bed::new("confirm", FLEET);
    let ran = bed.run(&["start", "plain-udp", "connectivity", "threshold", "logs"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert!(
        !bed.state().exists(),
        "nothing may be left of a run that was not begun"
    );
}

#[test]
fn a_wrong_line_of_the_config_is_shown() {
    let bed = Bed::new("config", FLEET);
    bed.write_config("deploy:\n  install_pth: /opt/x\n");
    let ran = bed.start();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    for part in ["vps-test.yaml", ":2:", "install_pth", "install_path"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn a_wrong_line_of_the_inventory_is_shown() {
    let twice = FLEET.replace("name: two", "name: one");
    let bed = Bed::new("inventory", &twice);
    let ran = bed.start();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    for part in ["small.yaml", "one"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn a_bootstrap_that_is_not_in_the_inventory_is_named() {
    let bed = Bed::new("stranger", FLEET);
    bed.write_config("bootstrap:\n  nodes:\n    - onne:9000\nmodules:\n  plain: { project: plain-udp, binary: udp-test, crate: x }\n");
    let ran = bed.start();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("`onne` is not in the inventory"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("did you mean `one`?"), "{}", ran.stderr);
}

#[test]
fn a_directory_without_a_config_is_told_what_to_write() {
    let bed = Bed::new("nowhere", FLEET);
    std::fs::remove_file(bed.dir.path().join("vps-test.yaml")).unwrap();
    let ran = bed.start();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no config"), "{}", ran.stderr);
}

#[test]
fn the_requests_own_places_for_a_config_are_found() {
    let bed = Bed::new("places", FLEET);
    let config = std::fs::read_to_string(bed.dir.path().join("vps-test.yaml")).unwrap();
    std::fs::remove_file(bed.dir.path().join("vps-test.yaml")).unwrap();
    for place in [".claude/vps-test.yaml", ".claude/vps-test/config.yaml"] {
        let file = bed.dir.path().join(place);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &config).unwrap();
        let ran = bed.run(&[
            "start",
            "plain-udb",
            "connectivity",
            "threshold",
            "logs",
            "--yes",
        ]);
        assert!(
            ran.stderr.contains("did you mean `plain-udp`?"),
            "{place}: {}",
            ran.stderr
        );
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_stack_that_leads_nowhere_is_named() {
    let bed = Bed::new("stack", FLEET);
    let ran = bed.run(&bed.start_words(&["--stack", "ant-quic=/nowhere"]));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("/nowhere"), "{}", ran.stderr);
}
