//! What goes wrong between an engine and the real binary.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use model::protocol::{
    Announce, AttemptId, Call, Dial, Failure, Finish, Finished, Hello, Payload, PortRange, Prepare,
    Prepared, Probe, Reason, Reflector, Rung, Target, VERSION,
};
use testnet::{Net, Tester};

const BINARY: &str = env!("CARGO_BIN_EXE_udp-test");

struct Rig {
    tester: Tester,
    _net: Net,
}

impl Rig {
    fn new() -> Self {
        let mut net = Net::new();
        let tester = Tester::start(&net.public("alone"), BINARY);
        Self { tester, _net: net }
    }

    fn prepare(&self, attempt: &str) -> Result<Prepared, Failure> {
        self.prepare_on(attempt, self.tester.fresh_bind(), &[])
    }

    fn prepare_on(
        &self,
        attempt: &str,
        bind: SocketAddr,
        coordinators: &[SocketAddr],
    ) -> Result<Prepared, Failure> {
        self.tester.call(Call::Prepare(Prepare {
            attempt: AttemptId(attempt.into()),
            bind,
            coordinators: coordinators.to_vec(),
            payload: Payload {
                seed: "s".into(),
                bytes: 10,
            },
            timeout_ms: 1000,
        }))
    }

    fn dial(&self, attempt: &str, rung: Rung, addresses: Vec<SocketAddr>) -> Failure {
        let dial = Dial {
            attempt: AttemptId(attempt.into()),
            rung,
            target: Target {
                peer: "nobody".into(),
                addresses,
                relays: vec![],
            },
            timeout_ms: 300,
        };
        self.tester
            .call::<model::protocol::Connected>(Call::Dial(dial))
            .expect_err("nobody is there")
    }

    fn finish(&self, attempt: &str) -> Result<Finished, Failure> {
        let attempt = AttemptId(attempt.into());
        self.tester.call(Call::Finish(Finish { attempt }))
    }
}

#[test]
fn lines_that_are_no_calls_are_answered() {
    let rig = Rig::new();
    for (line, id, reason) in [
        ("not json at all", 0, "bad_request"),
        (r#"{"method":"hello"}"#, 0, "bad_request"),
        (
            r#"{"id":7,"method":"levitate","params":{}}"#,
            7,
            "unsupported",
        ),
        (
            r#"{"id":8,"method":"prepare","params":{"attempt":1}}"#,
            8,
            "bad_request",
        ),
        (
            r#"{"id":9,"method":"finish","params":{"attempt":"ghost"}}"#,
            9,
            "bad_request",
        ),
    ] {
        let answer = rig.tester.exchange_lines(line);
        assert!(
            answer.contains(&format!("\"id\":{id},")),
            "{line} → {answer}"
        );
        assert!(
            answer.contains(&format!("\"{reason}\"")),
            "{line} → {answer}"
        );
    }
    let hello: Hello = rig.tester.call(Call::Hello).unwrap();
    assert_eq!(
        (hello.protocol, hello.pid),
        (VERSION, rig.tester.process.0.id())
    );
    let on_disk = model::payload::sha256_hex(&std::fs::read(BINARY).unwrap());
    assert_eq!(hello.digest, on_disk);
}

#[test]
fn a_taken_port_is_the_hosts_fault() {
    let rig = Rig::new();
    let bind = rig.prepare("first").unwrap().local;
    let failure = rig.prepare_on("second", bind, &[]).unwrap_err();
    assert_eq!(failure.reason, Reason::Infrastructure);
    assert!(failure.detail.contains(&bind.to_string()), "{failure}");
    // The id is free again, and so is the port once its attempt is finished.
    rig.finish("first").unwrap();
    rig.prepare_on("second", bind, &[]).unwrap();
}

#[test]
fn an_attempt_survives_the_connection_that_made_it() {
    let rig = Rig::new();
    let mut stream = UnixStream::connect(&rig.tester.socket).unwrap();
    let bind = rig.tester.fresh_bind();
    let prepare = format!(
        r#"{{"id":1,"method":"prepare","params":{{"attempt":"a","bind":"{bind}","coordinators":[],"payload":{{"seed":"s","bytes":1}},"timeout_ms":1000}}}}"#
    );
    writeln!(stream, "{prepare}").unwrap();
    BufReader::new(&stream)
        .read_line(&mut String::new())
        .unwrap();
    writeln!(
        stream,
        r#"{{"id":2,"method":"dial","params":{{"attempt":"a","rung":"punched","target":{{"peer":"x","addresses":["198.18.0.77:1"],"relays":[]}},"timeout_ms":60000}}}}"#
    )
    .unwrap();
    drop(stream);
    assert_eq!(rig.finish("a").unwrap().local, bind);
    assert_eq!(rig.finish("a").unwrap_err().reason, Reason::BadRequest);
}

#[test]
fn finish_closes_the_socket_at_once() {
    let rig = Rig::new();
    let before = rig.tester.open_fds();
    for attempt in ["a", "b", "c"] {
        rig.prepare(attempt).unwrap();
        rig.finish(attempt).unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while rig.tester.open_fds() > before {
        assert!(Instant::now() < deadline, "sockets are left open");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn rungs_end_in_time_and_say_why() {
    let rig = Rig::new();
    rig.prepare("a").unwrap();
    let nowhere = vec!["198.18.0.99:1".parse().unwrap()];
    let began = Instant::now();
    let failure = rig.dial("a", Rung::Punched, nowhere.clone());
    assert_eq!(failure.reason, Reason::Timeout);
    assert!(began.elapsed() < Duration::from_millis(700));
    assert_eq!(
        rig.dial("a", Rung::Punched, vec![]).reason,
        Reason::NoAddress
    );
    assert_eq!(
        rig.dial("a", Rung::Relayed, nowhere).reason,
        Reason::NoAddress
    );
    let announce = Call::Announce(Announce {
        attempt: AttemptId("a".into()),
        timeout_ms: 300,
    });
    let announced = rig.tester.call::<model::protocol::Announced>(announce);
    assert_eq!(announced.unwrap_err().reason, Reason::NoAddress);
}

#[test]
fn silent_coordinators_are_named() {
    let rig = Rig::new();
    let silent = "198.18.0.99:9100".parse().unwrap();
    let bind = rig.tester.fresh_bind();
    let failure = rig.prepare_on("a", bind, &[silent]).unwrap_err();
    assert_eq!(failure.reason, Reason::Timeout);
    assert!(failure.detail.contains("198.18.0.99:9100"), "{failure}");
}

#[test]
fn a_reflector_that_only_reflects_proves_no_filter() {
    let mut net = Net::new();
    let (open, public) = (net.public("open"), net.public("reflector"));
    let tester = Tester::start(&open, BINARY);
    // It knows no partner: nobody will send from the other address.
    let primary = SocketAddr::new(public.address, 9100);
    let _alone = testnet::Background::coordinator(&public, BINARY, primary, &[]);
    let reflector = |primary: SocketAddr| Reflector {
        primary,
        alternate: SocketAddr::new(primary.ip(), primary.port() + 1),
    };
    std::thread::sleep(Duration::from_millis(200));
    let probe = Call::Probe(Probe {
        address: open.address,
        ports: PortRange {
            first: 30_000,
            last: 30_010,
        },
        reflectors: vec![
            reflector(primary),
            reflector("198.18.0.200:9100".parse().unwrap()),
        ],
        patience_ms: 300,
        silences_ms: Vec::new(),
        stun: None,
    });
    let failure = tester.call::<model::nat::Observations>(probe).unwrap_err();
    assert_eq!(failure.reason, Reason::Infrastructure);
    assert!(failure.detail.contains("partner"), "{failure}");
}

#[test]
fn strangers_get_no_more_than_they_send() {
    let at: SocketAddr = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let _coordinator = testnet::Background(
        std::process::Command::new(BINARY)
            .args(["coordinator", "--bind", &at.to_string()])
            .spawn()
            .unwrap(),
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let ask = |padding: usize| {
        let mut request = br#"{"reflect":{"nonce":1,"answerer":"asked"}}"#.to_vec();
        request.resize(request.len() + padding, b' ');
        socket.send_to(&request, at).unwrap();
        socket
            .recv(&mut [0; 2048])
            .ok()
            .inspect(|n| assert!(*n <= request.len()))
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while ask(300).is_none() {
        assert!(Instant::now() < deadline, "the coordinator never answered");
    }
    assert_eq!(ask(0), None);
    // Nor does it send for somebody who has no cookie.
    let forward = format!(
        r#"{{"forward":{{"cookie":1,"nonce":1,"client":"{}"}}}}"#,
        socket.local_addr().unwrap()
    );
    socket.send_to(forward.as_bytes(), at).unwrap();
    assert!(socket.recv(&mut [0; 2048]).is_err());
}

#[test]
fn sigterm_ends_it_in_good_order() {
    let mut rig = Rig::new();
    rig.prepare("a").unwrap();
    let pid = rig.tester.process.0.id().to_string();
    let killed = std::process::Command::new("kill")
        .arg(pid)
        .status()
        .unwrap();
    assert!(killed.success());
    let status = rig.tester.process.0.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!rig.tester.socket.exists());
}

#[test]
fn version_names_the_stack() {
    let output = std::process::Command::new(BINARY)
        .arg("--version")
        .output()
        .unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("udp-test {version} (stack udp {version})\n")
    );
}
