//! The real binary: its output, its exit status, its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Client, FLEET, Keys};

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

    /// As a crash or the kernel would end it.
    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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

fn with_tokens(dir: &tempfile::TempDir) -> (String, Keys) {
    let file = dir.path().join("tokens.json");
    let keys = Keys::make(&file, FLEET);
    (file.to_str().unwrap().to_owned(), keys)
}

#[test]
fn it_stops_on_sigterm_and_never_logs_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = with_tokens(&dir);
    let registry = Binary::serve(&["--tokens", &file]);
    let client = Client::plain(&registry.url, keys.clone());
    client.register("saorsa-4", 1);
    client.submit("/login", None, &format!("token={}", keys.viewer));
    let wrong = format!("{}0", keys.peer);
    client.get_as(Some(&wrong), "/api/peers");

    let start = Instant::now();
    let (well, log) = registry.terminate();
    assert!(well, "{log}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(log.contains("logged in"), "{log}");
    for token in [&keys.viewer, &keys.peer, &wrong] {
        assert!(!log.contains(token.rsplit('_').next().unwrap()), "{log}");
    }
}

#[test]
fn tokens_are_made_shown_and_revoked_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.json").to_str().unwrap().to_owned();
    let add = |more: &[&str]| {
        let words = ["token", "add", "--tokens", &file, "--fleet", "f"];
        run(&[&words[..], more].concat())
    };
    let made = add(&["--scope", "viewer", "--name", "grafana"]);
    assert!(made.stdout.starts_with("vpt_"), "{}", made.stderr);
    let of_nodes = add(&["--scope", "peer", "--node", "a", "--node", "b"]);
    let nodes: Vec<_> = of_nodes
        .stdout
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(nodes, ["a", "b"]);
    let listed = run(&["token", "list", "--tokens", &file]);
    assert_eq!(listed.stdout.lines().count(), 3);
    assert!(!listed.stdout.contains("vpt_"));
    assert!(run(&["token", "revoke", "--tokens", &file, "grafana"]).success);
    let again = run(&["token", "revoke", "--tokens", &file, "grafana"]);
    assert!(!again.success && again.stderr.contains("`grafana`"));
}

#[test]
fn it_refuses_what_is_unsafe_or_impossible() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = with_tokens(&dir);
    let refused = |args: &[&str]| {
        let output = run(&[&["serve"], args].concat());
        assert!(!output.success, "{args:?}");
        assert!(output.stdout.is_empty(), "{}", output.stdout);
        output.stderr
    };
    let open = refused(&["--listen", "0.0.0.0:0", "--tokens", &file]);
    assert!(open.contains("refusing plain HTTP on 0.0.0.0:0"), "{open}");
    let missing = refused(&["--listen", "127.0.0.1:0", "--tokens", "/nonexistent"]);
    assert!(missing.contains("`/nonexistent`"), "{missing}");
    let half = refused(&["--listen", "127.0.0.1:0", "--tokens", &file, "--cert", "c"]);
    assert!(half.contains("--key"), "{half}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let busy = refused(&["--listen", &address, "--tokens", &file]);
    assert!(
        busy.contains(&format!("cannot listen on {address}")),
        "{busy}"
    );
}
