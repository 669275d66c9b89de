//! One twin for all tests of this program.

use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use lab::Twin;
use serde_json::Value;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_vps-test");

pub static SITE: LazyLock<Site> = LazyLock::new(Site::boot);

pub struct Site {
    pub name: String,
    pub twin: Twin,
    /// Takes the twin down when the pipe to it closes, however this process ends.
    _undertaker: Child,
}

impl Site {
    fn boot() -> Self {
        let name = format!("t-nat-{}", std::process::id());
        let script = "trap '' INT TERM HUP; cat >/dev/null; exec \"$0\" lab down --name \"$1\"";
        let undertaker = Command::new("setsid")
            .args(["sh", "-c", script, PROGRAM, &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let inventory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nat/fleet.yaml");
        let up = Command::new(PROGRAM)
            .args(["lab", "up", "--name", &name, "--fleet", inventory])
            .output()
            .unwrap();
        assert!(up.status.success(), "{}", text(&up));
        Self {
            twin: Twin::open(&name).unwrap(),
            name,
            _undertaker: undertaker,
        }
    }

    /// `vps-test nat …` on this twin.
    pub fn nat(&self, words: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.arg("nat").args(words).args(["--twin", &self.name]);
        command.output().unwrap()
    }

    /// The boxes of `nat verify --json …`, and the exit status.
    pub fn verify(&self, words: &[&str]) -> (Vec<Value>, i32) {
        let output = self.nat(&[&["verify", "--json"], words].concat());
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        assert_eq!(
            document["failed"],
            serde_json::json!([]),
            "{}",
            text(&output)
        );
        let boxes = document["boxes"].as_array().unwrap().clone();
        (boxes, output.status.code().unwrap())
    }

    /// Runs a script on a host.
    pub fn on(&self, host: &str, script: &str) -> String {
        let output = Command::new(PROGRAM)
            .args([
                "lab", "exec", "--name", &self.name, host, "--", "sh", "-c", script,
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

pub fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[out.as_slice(), err].concat()).into_owned()
}
