use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

#[derive(Debug, PartialEq)]
struct Seen {
    path: String,
    authorization: String,
    body: serde_json::Value,
}

struct Rig {
    url: String,
    certificate: String,
    seen: mpsc::Receiver<Seen>,
}

/// A TLS server that answers these, one connection each.
fn registry(answers: Vec<(&'static str, &'static str)>) -> Rig {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = key.cert.pem();
    let private = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], PrivateKeyDer::from(private))
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    let (tell, seen) = mpsc::channel();
    std::thread::spawn(move || {
        let config = Arc::new(config);
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let Some(request) = answer(StreamOwned::new(connection, stream), status, body) else {
                continue;
            };
            if tell.send(request).is_err() {
                return;
            }
        }
    });
    Rig {
        url,
        certificate,
        seen,
    }
}

fn answer(stream: impl Read + Write, status: &str, body: &str) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        lines.iter().find_map(|l| {
            let (key, value) = l.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut bytes = vec![0; header("content-length")?.parse().ok()?];
    reader.read_exact(&mut bytes).ok()?;
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    reader.get_mut().write_all(response.as_bytes()).ok()?;
    reader.get_mut().flush().ok()?;
    Some(Seen {
        path: lines.first()?.split(' ').nth(1)?.to_owned(),
        authorization: header("authorization")?,
        body: serde_json::from_slice(&bytes).ok()?,
    })
}

fn config(directory: &tempfile::TempDir, rig: &Rig, certificate: &str) -> Config {
    let (ca, token) = (
        directory.path().join("ca.pem"),
        directory.path().join("token"),
    );
    std::fs::write(&ca, certificate).unwrap();
    std::fs::write(&token, "secret\n").unwrap();
    let args = AgentArgs {
        node: "n".into(),
        project: "p".into(),
        socket: "/nowhere".into(),
        registry: Some(rig.url.clone()),
        registry_ca: Some(ca),
        token_file: Some(token),
    };
    Config::read(&args).unwrap().unwrap()
}

fn somebody() -> Registration {
    Registration {
        project: "p".into(),
        node: "n".into(),
        tester: "t".into(),
        stack_version: "1".into(),
        digest: "d".into(),
        pid: 1,
        local: None,
    }
}

const REGISTERED: &str = r#"{"peer":"p/n/t","ttl_seconds":30}"#;

#[test]
fn it_registers_again_whenever_it_must() {
    let rig = registry(vec![
        ("503 Service Unavailable", "{}"),
        ("200 OK", REGISTERED),
        ("404 Not Found", "{}"),
        ("200 OK", REGISTERED),
        ("200 OK", "{}"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let metrics = || BTreeMap::from([("attempts_total".to_owned(), 3.0)]);
    spawn(
        config(&directory, &rig, &rig.certificate),
        somebody(),
        metrics,
    );
    let seen: Vec<Seen> = (0..5)
        .map(|_| rig.seen.recv_timeout(Duration::from_secs(10)).unwrap())
        .collect();
    let paths: Vec<_> = seen.iter().map(|s| s.path.as_str()).collect();
    let (register, heartbeat) = ("/api/register", "/api/heartbeat");
    assert_eq!(paths, [register, register, heartbeat, register, heartbeat]);
    assert!(seen.iter().all(|s| s.authorization == "Bearer secret"));
    assert_eq!(seen[0].body["node"], "n");
    assert_eq!(seen[2].body["peer"], "p/n/t");
    assert_eq!(seen[2].body["metrics"]["attempts_total"], 3.0);
}

#[test]
fn a_server_with_another_certificate_gets_no_token() {
    let rig = registry(vec![("200 OK", REGISTERED)]);
    let directory = tempfile::tempdir().unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let client = Client::new(config(&directory, &rig, &other.cert.pem()));
    assert!(client.register(&somebody()).is_err());
    assert!(rig.seen.recv_timeout(Duration::from_millis(200)).is_err());
}

#[test]
fn files_that_say_nothing_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    assert!(matches!(
        read_token(&empty),
        Err(RegistryError::NoToken { .. })
    ));
    assert!(matches!(
        read_roots(&empty),
        Err(RegistryError::NoCertificate { .. })
    ));
    let missing = directory.path().join("missing");
    assert!(matches!(
        read_token(&missing),
        Err(RegistryError::Read { .. })
    ));
}
