//! ant-quic through real NATs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use model::protocol::Rung;
use testnet::{Background, Nat, Net, Tester, climb, ladder};

const BINARY: &str = env!("CARGO_BIN_EXE_saorsa-quic-test");

struct Field {
    net: Net,
    coordinators: Vec<SocketAddr>,
    _running: Vec<Background>,
}

impl Field {
    fn new() -> Self {
        let mut net = Net::new();
        let hosts = [net.public("a"), net.public("b")];
        let coordinators: Vec<_> = hosts
            .iter()
            .map(|host| SocketAddr::new(host.address, 9200))
            .collect();
        let running = hosts
            .iter()
            .zip(&coordinators)
            .map(|(host, at)| Background::coordinator(host, BINARY, *at, &[]))
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        Self {
            net,
            coordinators,
            _running: running,
        }
    }
}

#[test]
fn explore() {
    let mut field = Field::new();
    let mut peers = vec![];
    for n in ["open", "open2"] {
        peers.push((n.to_owned(), Tester::start(&field.net.public(n), BINARY)));
    }
    for (n, nat) in [
        ("cone", Nat::FullCone),
        ("restr", Nat::PortRestricted),
        ("restr2", Nat::PortRestricted),
        ("sym", Nat::Symmetric),
        ("sym2", Nat::Symmetric),
    ] {
        peers.push((
            n.to_owned(),
            Tester::start(&field.net.behind(n, nat), BINARY),
        ));
    }
    for (from, caller) in &peers {
        for (to, callee) in &peers {
            if std::ptr::eq(caller, callee) {
                continue;
            }
            let done = climb(
                caller,
                callee,
                &field.coordinators,
                &ladder(caller, callee),
                Duration::from_secs(10),
            );
            println!(
                "{from} → {to}: {:?} in {:?} connected {:?} failures {:?}",
                done.reached, done.took, done.connected, done.failures
            );
            println!("     caller {:?}", done.caller.1);
            println!("     callee {:?}", done.callee.1);
        }
    }
    let _ = Instant::now();
    let _ = Rung::Direct;
}
