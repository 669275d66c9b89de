//! A tester with a planted bug: it binds the wrong address behind a NAT. The rest
//! is the reference's, which is deployed beside it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

const REFERENCE: &str = "/opt/saorsa-test/udp-test";

/// The address that a socket binds, of the one that was asked for.
fn bind_address(asked: &str) -> &str {
    if asked.starts_with("10.") { "127.0.0.1" } else { asked }
}

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let at = words.iter().position(|word| word == "--socket");
    let outer = at.map(|at| words[at + 1].clone());
    if let (Some(at), Some(outer)) = (at, &outer) {
        words[at + 1] = format!("{outer}.inner");
    }
    let mut child = Command::new(REFERENCE).args(&words).spawn().expect("the reference is there");
    if let Some(outer) = outer {
        std::thread::spawn(move || serve(&outer));
    }
    let status = child.wait().expect("it was started");
    std::process::exit(status.code().unwrap_or(1));
}

fn serve(outer: &str) {
    let _ = std::fs::remove_file(outer);
    let listener = UnixListener::bind(outer).expect("the directory is there");
    for client in listener.incoming().flatten() {
        let inner = format!("{outer}.inner");
        std::thread::spawn(move || relay(client, &inner));
    }
}

fn relay(client: UnixStream, inner: &str) {
    let server = loop {
        match UnixStream::connect(inner) {
            Ok(server) => break server,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let (mut back, from) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if writeln!(back, "{}", as_ourselves(&line)).is_err() {
                break;
            }
        }
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    let mut to = server.try_clone().unwrap();
    for line in BufReader::new(client).lines().map_while(Result::ok) {
        if writeln!(to, "{}", with_bind(&line)).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}

/// The answer, with the digest of this program: it is what was built and deployed.
fn as_ourselves(answer: &str) -> String {
    const KEY: &str = "\"digest\":\"";
    let Some((before, rest)) = answer.split_once(KEY) else {
        return answer.to_owned();
    };
    let own = format!("/proc/{}/exe", std::process::id());
    let said = Command::new("sha256sum").arg(own).output().expect("coreutils are there");
    let digest = String::from_utf8_lossy(&said.stdout);
    format!("{before}{KEY}{}{}", &digest[..64], &rest[64..])
}

/// The request, with the address that is really bound.
fn with_bind(request: &str) -> String {
    const KEY: &str = "\"bind\":\"";
    let Some((before, rest)) = request.split_once(KEY) else {
        return request.to_owned();
    };
    let Some((asked, after)) = rest.split_once(':') else {
        return request.to_owned();
    };
    format!("{before}{KEY}{}:{after}", bind_address(asked))
}
