//! The real binary: its output, its exit status, its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Client, read_token};

const BINARY: &str = env!("CARGO_BIN_EXE_vps-test-registry");

pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(args: &[&str]) -> Output {
    let output = Command::new(BINARY).args(args).output().unwrap();
    Output {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `serve` on a free port of loopback, killed when dropped.
pub struct Binary {
    child: Child,
    pub url: String,
}

impl Binary {
    pub fn serve(args: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("it said {line:?}"))
            .to_owned();
        Self { child, url }
    }

    /// Sends SIGTERM; returns whether it ended well, and all that it logged.
    fn terminate(mut self) -> (bool, String) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        (status.success(), log)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // Fails where it has ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_token(dir: &tempfile::TempDir) -> String {
    let file = dir.path().join("token");
    assert!(run(&["token", "--out", file.to_str().unwrap()]).success);
    file.to_str().unwrap().to_owned()
}

#[test]
fn it_stops_on_sigterm_and_never_logs_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = with_token(&dir);
    let token = read_token(file.as_ref());
    let registry = Binary::serve(&["--token-file", &file]);
    let client = Client::plain(&registry.url, &token);
    client.register("saorsa-4", 1);
    client.post_as(Some(&format!("Bearer x{token}")), "/api/register", b"{}");

    let start = Instant::now();
    let (well, log) = registry.terminate();
    assert!(well, "{log}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(log.contains("registered"), "{log}");
    assert!(!log.contains(&token), "{log}");
}

#[test]
fn it_refuses_what_is_unsafe_or_impossible() {
    let dir = tempfile::tempdir().unwrap();
    let file = with_token(&dir);
    let refused = |args: &[&str]| {
        let output = run(&[&["serve"], args].concat());
        assert!(!output.success, "{args:?}");
        assert!(output.stdout.is_empty(), "{}", output.stdout);
        output.stderr
    };
    let open = refused(&["--listen", "0.0.0.0:0", "--token-file", &file]);
    assert!(open.contains("refusing plain HTTP on 0.0.0.0:0"), "{open}");
    let missing = refused(&["--listen", "127.0.0.1:0", "--token-file", "/nonexistent"]);
    assert!(missing.contains("`/nonexistent`"), "{missing}");
    let half = refused(&[
        "--listen",
        "127.0.0.1:0",
        "--token-file",
        &file,
        "--cert",
        "c",
    ]);
    assert!(half.contains("--key"), "{half}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let busy = refused(&["--listen", &address, "--token-file", &file]);
    assert!(
        busy.contains(&format!("cannot listen on {address}")),
        "{busy}"
    );
}
