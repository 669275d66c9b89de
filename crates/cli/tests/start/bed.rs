//! A project in a directory of its own, and a twin of its small fleet.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_vps-test");

/// Registry, two public nodes, two behind NATs that can always be traversed.
pub const FLEET: &str = "\
fleet: small
nodes:
  - { name: hub, addresses: [192.0.2.1], provider: Lab, region: here, role: registry }
  - { name: one, addresses: [192.0.2.11], provider: Lab, region: here, role: bootstrap }
  - { name: two, addresses: [192.0.2.12], provider: Lab, region: here, role: bootstrap }
  - { name: cone, addresses: [192.0.2.21], provider: Lab, region: here, role: nat, nat: { type: full-cone } }
  - { name: port, addresses: [192.0.2.22], provider: Lab, region: here, role: nat, nat: { type: port-restricted } }
";

/// A symmetric NAT besides: plain UDP has no path between it and `port`.
pub const SYMMETRIC: &str = "  - { name: hard, addresses: [192.0.2.23], provider: Lab, region: here, role: nat, nat: { type: symmetric } }
";

pub struct Bed {
    pub dir: tempfile::TempDir,
    twin: String,
}

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Bed {
    /// The project's tester is plain UDP, which is there as soon as the workspace
    /// is built; wide margins make its verdict quick.
    pub fn new(name: &str, fleet: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("fleets")).unwrap();
        std::fs::write(dir.path().join("fleets/small.yaml"), fleet).unwrap();
        let bed = Self {
            dir,
            twin: format!("t-start-{name}"),
        };
        bed.configure("udp-test", &built());
        bed
    }

    pub fn configure(&self, binary: &str, target_dir: &Path) {
        let config = format!(
            "workspace: {}
modules:
  plain: {{ project: plain-udp, binary: {binary}, crate: none, tests: [connectivity] }}
build: {{ command: 'true', target_dir: {} }}
tests:
  connectivity:
    margins: {{ direct: 40, nat_traversed: 40, relay: 40 }}
    timeout_seconds: 2
",
            self.dir.path().display(),
            target_dir.display()
        );
        self.write_config(&config);
    }

    pub fn write_config(&self, text: &str) {
        std::fs::write(self.dir.path().join("vps-test.yaml"), text).unwrap();
    }

    /// Boots the twin now, so that something can be broken before the start.
    pub fn up(self) -> Self {
        let up = self.run(&[
            "lab",
            "up",
            "--fleet",
            "fleets/small.yaml",
            "--name",
            &self.twin,
        ]);
        assert_eq!(up.code, 0, "{}", up.stderr);
        self
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(words)
            .current_dir(self.dir.path())
            .env("VPS_TEST_STATE_DIR", self.state())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        ran(&self.command(words).output().unwrap())
    }

    pub fn start_words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let usual = [
            "start",
            "plain-udp",
            "connectivity",
            "threshold",
            "all-evidence",
            "--yes",
            "--soak",
            "0",
        ];
        [&usual[..], &["--twin", &self.twin], more].concat()
    }

    pub fn start(&self) -> Ran {
        self.run(&self.start_words(&[]))
    }

    /// On a host, as root.
    pub fn on(&self, node: &str, script: &str) -> String {
        let ran = self.run(&[
            "lab", "exec", "--name", &self.twin, node, "--", "sh", "-c", script,
        ]);
        assert_eq!(ran.code, 0, "{script}: {}", ran.stderr);
        ran.stdout
    }

    pub fn twin(&self) -> &str {
        &self.twin
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.state().join("plain-udp/latest")
    }

    pub fn proof(&self) -> Value {
        self.proof_of("plain-udp")
    }

    pub fn proof_of(&self, project: &str) -> Value {
        let path = self.state().join(project).join("latest/proof.json");
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Its events by name, in order.
    pub fn journal(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.run_dir().join("journal.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.run(&["lab", "down", "--name", &self.twin]);
    }
}

/// What a project of this workspace is tested for, once, on a twin of the request's ten
/// hosts; the proof of a run that ended with a verdict, whichever.
pub fn suites(project: &str, focus: &str, twin: &str) -> Value {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let state = tempfile::tempdir().unwrap();
    let output = Command::new(BINARY)
        .args(["start", project, focus, "threshold", "all-evidence"])
        .args(["--yes", "--soak", "0", "--twin", twin])
        .current_dir(workspace.canonicalize().unwrap())
        .env("VPS_TEST_STATE_DIR", state.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = ran(&output);
    // Passed, failed, undecided: anything else is not the stack's.
    assert!(
        matches!(ran.code, 0 | 1 | 3),
        "{}: {}\n{}",
        ran.code,
        ran.stdout,
        ran.stderr
    );
    let proof = state.path().join(project).join("latest/proof.json");
    let proof = std::fs::read_to_string(proof).unwrap();
    serde_json::from_str(&proof).unwrap()
}

/// Trials of a rate in all, those that the infrastructure failed left out.
pub fn trials(proof: &Value, measure: &str) -> usize {
    let measured = proof["measured"].as_array().unwrap().iter();
    measured
        .filter(|measured| measured["measure"] == measure)
        .filter_map(|measured| measured["outcomes"].as_array())
        .flatten()
        .filter(|outcome| *outcome != "infrastructure")
        .count()
}

pub fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Where this workspace's binaries are.
pub fn built() -> PathBuf {
    let dir = Path::new(BINARY).parent().unwrap().to_owned();
    assert!(
        dir.join("udp-test").exists(),
        "build the workspace first: cargo build --workspace"
    );
    dir
}

pub fn criterion<'a>(proof: &'a Value, name: &str) -> &'a Value {
    proof["criteria"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == name)
        .unwrap()
}

pub fn node<'a>(proof: &'a Value, name: &str) -> &'a Value {
    proof["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|n| n["name"] == name)
        .unwrap()
}
