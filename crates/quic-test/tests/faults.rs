//! What goes wrong around ant-quic, with the real binary.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use model::protocol::{
    AttemptId, Call, Connected, Dial, Failure, Finish, Finished, Payload, Prepare, Prepared,
    Reason, Rung, Target,
};
use testnet::{Background, Net, Tester};

const BINARY: &str = env!("CARGO_BIN_EXE_saorsa-quic-test");

struct Rig {
    tester: Tester,
    coordinator: SocketAddr,
    _running: Background,
    _net: Net,
}

impl Rig {
    fn new() -> Self {
        let mut net = Net::new();
        let host = net.public("coordinator");
        let coordinator = SocketAddr::new(host.address, 9200);
        let running = Background::coordinator(&host, BINARY, coordinator, &[]);
        let tester = Tester::start(&net.public("alone"), BINARY);
        Self {
            tester,
            coordinator,
            _running: running,
            _net: net,
        }
    }

    fn prepare(
        &self,
        attempt: &str,
        bind: SocketAddr,
        coordinator: SocketAddr,
        timeout_ms: u64,
    ) -> Result<Prepared, Failure> {
        self.tester.call(Call::Prepare(Prepare {
            attempt: AttemptId(attempt.into()),
            bind,
            coordinators: vec![coordinator],
            payload: Payload {
                seed: "s".into(),
                bytes: 10,
            },
            timeout_ms,
        }))
    }

    fn dial(&self, rung: Rung, address: &str, timeout_ms: u64) -> Failure {
        let addresses = vec![address.parse().expect("an address")];
        let dial = Dial {
            attempt: AttemptId("a".into()),
            rung,
            target: Target {
                peer: "07".repeat(32),
                addresses: addresses.clone(),
                relays: addresses,
            },
            timeout_ms,
        };
        let dialled = self.tester.call::<Connected>(Call::Dial(dial));
        dialled.expect_err("nobody is there")
    }
}

#[test]
fn a_taken_port_is_the_hosts_fault() {
    let rig = Rig::new();
    let bind = rig.tester.fresh_bind();
    rig.prepare("a", bind, rig.coordinator, 10_000)
        .expect("the port is free");
    let failure = rig
        .prepare("b", bind, rig.coordinator, 10_000)
        .expect_err("the port is taken");
    assert_eq!(failure.reason, Reason::Infrastructure);
    assert!(failure.detail.contains(&bind.to_string()), "{failure}");
}

#[test]
fn a_coordinator_that_is_gone_is_named_in_time() {
    let rig = Rig::new();
    let (began, fds) = (Instant::now(), rig.tester.open_fds());
    let silent = "198.18.0.99:9200".parse().expect("an address");
    let failure = rig
        .prepare("a", rig.tester.fresh_bind(), silent, 1500)
        .expect_err("nobody is there");
    assert_eq!(failure.reason, Reason::Timeout);
    assert!(failure.detail.contains("198.18.0.99:9200"), "{failure}");
    assert!(began.elapsed() < Duration::from_millis(2200));
    // Its endpoint is gone, though nobody will finish it.
    let deadline = Instant::now() + Duration::from_secs(10);
    while rig.tester.open_fds() > fds {
        assert!(Instant::now() < deadline, "the endpoint is left open");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_rung_ends_at_its_own_time() {
    let rig = Rig::new();
    rig.prepare("a", rig.tester.fresh_bind(), rig.coordinator, 10_000)
        .expect("a coordinator");
    for rung in [Rung::Direct, Rung::Punched, Rung::Relayed] {
        let began = Instant::now();
        let failure = rig.dial(rung, "198.18.0.99:9", 1500);
        let took = began.elapsed();
        assert!(took < Duration::from_millis(2200), "{rung:?}: {took:?}");
        assert!(!failure.reason.is_infrastructure(), "{rung:?}: {failure}");
    }
    // Somebody answers there, but not the one that was meant.
    let wrong = rig.dial(Rung::Relayed, &rig.coordinator.to_string(), 3000);
    assert_eq!(wrong.reason, Reason::Refused, "{wrong}");
    let finish = Call::Finish(Finish {
        attempt: AttemptId("a".into()),
    });
    let finished: Finished = rig.tester.call(finish).expect("finish");
    assert_eq!((finished.remote, finished.received), (None, None));
}

#[test]
fn version_names_the_stack() {
    let output = std::process::Command::new(BINARY)
        .arg("--version")
        .output()
        .expect("it runs");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!(
        "saorsa-quic-test {} (stack ant-quic 0.",
        env!("CARGO_PKG_VERSION")
    );
    assert!(line.starts_with(&expected), "{line}");
}
