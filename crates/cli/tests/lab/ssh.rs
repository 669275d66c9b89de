//! The ways into a host.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::site::{PROGRAM, SHARED, lab, said};

fn ssh(options: &[&str], node: &str, command: &str) -> Output {
    Command::new("ssh")
        .arg("-F")
        .arg(SHARED.twin.ssh_config())
        .args(options)
        .args([node, command])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn plain_ssh_reaches_every_host_by_each_of_its_names() {
    for name in [
        "a",
        "a.example.net",
        "192.0.2.11",
        "b",
        "192.0.2.13",
        "london",
        "tokyo",
    ] {
        let output = ssh(&[], name, "hostname");
        assert!(output.status.success(), "{name}: {}", said(&output));
        assert_eq!(
            said(&output).matches("Warning").count(),
            0,
            "{}",
            said(&output)
        );
    }
    let got = String::from_utf8(ssh(&[], "192.0.2.13", "hostname").stdout).unwrap();
    assert_eq!(got.trim(), "b");
}

#[test]
fn ssh_config_prints_the_file_that_ssh_wants() {
    let printed = lab(&SHARED.name, "ssh-config", &[]).stdout;
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(printed.trim(), SHARED.twin.ssh_config().to_str().unwrap());
}

#[test]
fn a_name_that_is_no_host_leads_nowhere() {
    let output = ssh(&[], "example.com", "true");
    assert_eq!(output.status.code(), Some(255));
    assert!(
        said(&output).contains("not a host of the twin"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_host_with_another_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let known = directory.path().join("known_hosts");
    let published = std::fs::read_to_string(SHARED.twin.ssh_config().with_file_name("known_hosts"));
    let published = published.unwrap();
    assert_eq!(published.lines().count(), 4, "{published}");
    let keys = published.lines().map(|l| l.split_once(' ').unwrap().1);
    let swapped: String = ["b", "a", "tokyo", "london"]
        .iter()
        .zip(["a", "b", "london", "tokyo"].map(|n| key(&published, n)))
        .map(|(name, key)| format!("{name} {key}\n"))
        .collect();
    assert_eq!(
        keys.collect::<std::collections::HashSet<_>>().len(),
        4,
        "keys of their own"
    );
    std::fs::write(&known, swapped).unwrap();
    let option = format!("UserKnownHostsFile={}", known.display());
    let output = ssh(&["-o", &option], "a", "true");
    assert_eq!(output.status.code(), Some(255), "{}", said(&output));
    std::fs::write(&known, "").unwrap();
    let output = ssh(&["-o", &option], "a", "true");
    assert_eq!(
        output.status.code(),
        Some(255),
        "an unknown key: {}",
        said(&output)
    );
}

fn key<'a>(known: &'a str, node: &str) -> &'a str {
    let mut lines = known.lines().filter_map(|l| l.split_once(' '));
    lines.find(|(name, _)| *name == node).unwrap().1
}

#[test]
fn exec_hands_on_words_output_and_status() {
    let words = SHARED.exec("a", &["printf", "%s|", "two words", "$HOME", "it's", ""]);
    assert_eq!(
        String::from_utf8(words.stdout).unwrap(),
        "two words|$HOME|it's||"
    );
    assert_eq!(
        SHARED.exec("a", &["sh", "-c", "exit 7"]).status.code(),
        Some(7)
    );
    let by_hostname = SHARED.exec("a.example.net", &["hostname"]);
    assert_eq!(by_hostname.stdout, b"a\n");
    let unknown = SHARED.exec("c", &["true"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("no host `c`"), "{}", said(&unknown));
}

#[test]
fn forward_opens_a_loopback_port_to_a_host() {
    let mut forward = Command::new(PROGRAM)
        .args(["lab", "forward", "--name", &SHARED.name, "tokyo:22"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(forward.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let at = line.split(' ').next().unwrap();
    assert!(at.starts_with("127.0.0.1:"), "{line}");
    let greetings = [at, at].map(|at| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting).map(|()| greeting)
    });
    forward.kill().unwrap();
    forward.wait().unwrap();
    for greeting in greetings {
        assert_eq!(&greeting.unwrap(), b"SSH-2.0-");
    }
}

#[test]
fn forward_to_an_unknown_host_is_refused_at_once() {
    for target in ["nobody:22", "tokyo", "tokyo:ssh"] {
        let output = Command::new("timeout")
            .args([
                "5",
                PROGRAM,
                "lab",
                "forward",
                "--name",
                &SHARED.name,
                target,
            ])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{target}: {}", said(&output));
    }
}
