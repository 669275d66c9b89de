//! The loop closes: a tester with a planted bug is found out, mended, committed
//! and proved. And a fixer that moves the goal posts is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bed::{Bed, FLEET, Ran};

const PLANTED: &str = include_str!("planted.rs");

/// A small workspace in a repository of its own, and a place for programs outside it.
struct Workspace {
    bed: Bed,
    outside: tempfile::TempDir,
}

impl Workspace {
    fn new(name: &str) -> Self {
        let bed = Bed::new(name, FLEET);
        let outside = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = bed.dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("src/main.rs", PLANTED);
        write(
            "Cargo.toml",
            "[package]\nname = \"planted-test\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n",
        );
        write(
            "Cargo.lock",
            "version = 4\n\n[[package]]\nname = \"planted-test\"\nversion = \"0.1.0\"\n",
        );
        write(".gitignore", "target\nstate\n");
        let workspace = Self { bed, outside };
        workspace.git(&["init", "-q"]);
        workspace
    }

    fn configure(&self, fix: &str) {
        self.bed.write_config(&format!(
            "workspace: .
modules:
  planted: {{ project: plain-udp, binary: planted-test, crate: '.' }}
build: {{ command: cargo build --offline, target_dir: target/debug }}
tests:
  connectivity:
    margins: {{ direct: 40, nat_traversed: 40, relay: 40 }}
    timeout_seconds: 2
{fix}"
        ));
    }

    fn git(&self, words: &[&str]) -> String {
        let identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"];
        let output = Command::new("git")
            .args(identity)
            .args(words)
            .current_dir(self.bed.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit_all(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "As it is"]);
    }

    /// An executable that is not in the repository.
    fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.outside.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\nset -eu\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn start(&self, soak: &str) -> Ran {
        let words = self.bed.start_words(&[]);
        let words: Vec<&str> = words
            .into_iter()
            .map(|word| if word == "0" { soak } else { word })
            .collect();
        let path = std::env::var("PATH").unwrap();
        let output = self
            .bed
            .command(&words)
            .env("PATH", format!("{}:{path}", self.outside.path().display()))
            .output()
            .unwrap();
        crate::bed::ran(&output)
    }

    fn states(&self) -> Vec<String> {
        let journal = self.bed.journal();
        let entered = journal
            .iter()
            .filter(|e| e["event"] == "entered" || e["event"] == "wait_began");
        entered
            .map(|e| e["state"].as_str().unwrap().to_owned())
            .collect()
    }

    fn events(&self, name: &str) -> Vec<Value> {
        let journal = self.bed.journal();
        journal.into_iter().filter(|e| e["event"] == name).collect()
    }

    /// Work trees, programs and locks of the loop are gone.
    fn nothing_is_left(&self) {
        assert_eq!(self.git(&["worktree", "list"]).lines().count(), 1);
        for name in ["scratch", "fix/work-tree", "fix/running"] {
            let path = self.bed.run_dir().join(name);
            assert!(path.symlink_metadata().is_err(), "{}", path.display());
        }
    }
}

#[test]
fn a_planted_bug_is_mended_committed_and_proved() {
    let workspace = Workspace::new("fix");
    let told = workspace.outside.path().join("told");
    let hook = workspace.program(
        "hook",
        &format!("echo \"$1\" >> {0}; cat >> {0}.json", told.display()),
    );
    // Whoever reads the bundle can mend it: the page names the cells and the logs.
    workspace.program(
        "claude",
        "[ \"$1\" = -p ]
case $2 in *\"$VPS_TEST_BUNDLE/README.md\"*) ;; *) exit 7;; esac
grep -q 'cone → one' \"$VPS_TEST_BUNDLE/README.md\"
grep -q 'nothing left it for .*the tester says: .*no coordinator of' \"$VPS_TEST_BUNDLE/README.md\"
ls \"$VPS_TEST_BUNDLE\"/logs/cone.saorsa-test-planted.log
sed -i 's/if asked.starts_with(\"10.\") { \"127.0.0.1\" } else { asked }/asked/' src/main.rs",
    );
    workspace.configure(&format!(
        "fix: {{ agent: claude, test_command: 'cargo check -q --offline' }}
notify: {{ hook: '{}' }}
",
        hook.display()
    ));
    workspace.commit_all();
    let before = workspace.git(&["rev-parse", "HEAD"]);

    let ran = workspace.start("2s,2s");
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(
        workspace.states(),
        [
            "SETUP",
            "BUILD_LOCAL",
            "DEPLOY",
            "TEST",
            "FIX",
            "BUILD_LOCAL",
            "DEPLOY",
            "TEST",
            "WAIT_1HR",
            "TEST",
            "WAIT_6HR",
            "TEST"
        ]
    );
    let proof = workspace.bed.proof();
    assert_eq!(
        (&proof["verdict"], &proof["state"]),
        (&"PASS".into(), &"COMPLETE".into())
    );
    let commits = proof["evidence"]["fix_commits"].as_array().unwrap();
    assert_eq!(commits.len(), 1);
    let commit = commits[0].as_str().unwrap();
    let message = workspace.git(&["log", "-1", "--format=%B", commit]);
    assert!(message.starts_with("Fix plain-udp: "), "{message}");
    assert!(message.contains("- cone → one"), "{message}");
    assert_eq!(workspace.git(&["rev-parse", &format!("{commit}^")]), before);
    assert_eq!(
        workspace.git(&["rev-parse", "HEAD"]),
        before,
        "the user's own branch is untouched"
    );
    assert_eq!(workspace.git(&["status", "--porcelain"]), "");
    workspace.nothing_is_left();
    assert!(
        !workspace.events("probed").is_empty(),
        "waits are looked at"
    );

    let told = std::fs::read_to_string(&told).unwrap();
    let told: Vec<&str> = told.lines().collect();
    for (line, part) in told.iter().zip([
        "test begins",
        "test failed",
        "fix committed",
        "WAIT_1HR",
        "WAIT_6HR",
        "COMPLETE",
    ]) {
        assert!(
            line.starts_with("plain-udp: ") && line.contains(part),
            "{part}: {told:?}"
        );
    }
    assert_eq!(told.len(), 6, "{told:?}");
}

#[test]
fn a_fix_that_lowers_the_threshold_is_refused_and_a_person_takes_over() {
    let workspace = Workspace::new("refuse");
    let fixer = workspace.program(
        "fixer",
        "sed -i 's/margins.*/margins: { direct: 98, nat_traversed: 84, relay: 99 }/' vps-test.yaml",
    );
    workspace.configure(&format!("fix: {{ command: '{}' }}\n", fixer.display()));
    workspace.commit_all();
    let config = std::fs::read_to_string(workspace.bed.dir.path().join("vps-test.yaml")).unwrap();

    let workspace = Workspace {
        bed: workspace.bed.up(),
        ..workspace
    };
    let ran = workspace.start("0");
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    let tried = workspace.events("fix_tried");
    assert_eq!(
        tried.len(),
        2,
        "two attempts at the same failure stop the loop"
    );
    for one in &tried {
        assert_eq!(one["outcome"], "refused");
        assert!(
            one["detail"]
                .as_str()
                .unwrap()
                .contains("`vps-test.yaml` says how the fix is judged")
        );
    }
    assert!(
        ran.stdout.contains("+    margins: { direct: 98"),
        "the diff is shown:\n{}",
        ran.stdout
    );
    let kept = workspace
        .bed
        .run_dir()
        .join(tried[0]["diff"].as_str().unwrap());
    assert!(
        std::fs::read_to_string(kept)
            .unwrap()
            .contains("+    margins: { direct: 98")
    );
    let stopped = workspace.events("stopped");
    assert!(
        stopped[0]["detail"]
            .as_str()
            .unwrap()
            .contains("2 attempts left the same failure")
    );
    assert_eq!(
        config,
        std::fs::read_to_string(workspace.bed.dir.path().join("vps-test.yaml")).unwrap()
    );
    assert_eq!(workspace.git(&["branch", "--list"]).lines().count(), 1);
    workspace.nothing_is_left();

    mend(workspace.bed.dir.path());
    let ran = workspace.bed.run(&["fixed", "plain-udp"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(workspace.bed.proof()["verdict"], "PASS");
    assert_eq!(workspace.events("fix_committed")[0]["by"], "hand");
    let ran = workspace.bed.run(&["fixed", "plain-udp"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}

#[test]
fn without_a_fixer_a_failing_build_parks_until_a_commit_appears() {
    let workspace = Workspace::new("park");
    workspace.configure("");
    let main = workspace.bed.dir.path().join("src/main.rs");
    std::fs::write(
        &main,
        PLANTED.replace("fn main() {", "fn main() { let _: u8 = \"planted\";"),
    )
    .unwrap();
    workspace.commit_all();
    let workspace = Workspace {
        bed: workspace.bed.up(),
        ..workspace
    };
    let ran = workspace.start("0");
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(workspace.events("stopped")[0]["cause"], "parked");
    assert!(
        ran.stdout.contains("vps-test fixed plain-udp"),
        "{}",
        ran.stdout
    );
    let page = std::fs::read_to_string(workspace.bed.run_dir().join("fix/1/README.md")).unwrap();
    assert!(page.contains("`src/main.rs:16:"), "{page}");
    assert!(page.contains("mismatched types"), "{page}");

    let ran = workspace.bed.run(&["resume", "plain-udp"]);
    assert_eq!(ran.code, 1, "nothing has changed:\n{}", ran.stdout);
    std::fs::write(&main, PLANTED).unwrap();
    mend(workspace.bed.dir.path());
    workspace.commit_all();
    let ran = workspace.bed.run(&["resume", "plain-udp"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
}

fn mend(workspace: &Path) {
    let main = workspace.join("src/main.rs");
    let text = std::fs::read_to_string(&main).unwrap();
    std::fs::write(
        &main,
        text.replace(
            "if asked.starts_with(\"10.\") { \"127.0.0.1\" } else { asked }",
            "asked",
        ),
    )
    .unwrap();
}
