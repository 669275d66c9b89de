//! ant-quic through real NATs: every kind of pair, and what an attempt leaves behind.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use model::protocol::Rung;
use testnet::{Attempted, Background, Nat, Net, Tester, climb, ladder};

const BINARY: &str = env!("CARGO_BIN_EXE_saorsa-quic-test");
const RUNG: Duration = Duration::from_secs(12);

struct Field {
    net: Net,
    coordinators: Vec<SocketAddr>,
    _running: Vec<Background>,
}

impl Field {
    /// Two public coordinators, which any relay needs.
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
        Self {
            net,
            coordinators,
            _running: running,
        }
    }

    fn public(&mut self, name: &str) -> Tester {
        Tester::start(&self.net.public(name), BINARY)
    }

    fn behind(&mut self, name: &str, nat: Nat) -> Tester {
        Tester::start(&self.net.behind(name, nat), BINARY)
    }

    fn attempt(&self, caller: &Tester, callee: &Tester) -> Attempted {
        climb(
            caller,
            callee,
            &self.coordinators,
            &ladder(caller, callee),
            RUNG,
        )
    }
}

#[test]
fn every_kind_of_pair_is_reached_by_its_own_rung() {
    let mut field = Field::new();
    let open = [field.public("open"), field.public("open2")];
    let cone = field.behind("cone", Nat::FullCone);
    let restricted = [
        field.behind("restricted", Nat::PortRestricted),
        field.behind("restricted2", Nat::PortRestricted),
    ];
    let symmetric = [
        field.behind("symmetric", Nat::Symmetric),
        field.behind("symmetric2", Nat::Symmetric),
    ];
    let cells = [
        (&open[0], &open[1], Rung::Direct),
        (&cone, &open[0], Rung::Direct),
        (&symmetric[0], &open[1], Rung::Direct),
        (&open[0], &cone, Rung::Punched),
        (&open[1], &symmetric[0], Rung::Punched),
        (&cone, &symmetric[1], Rung::Punched),
        (&symmetric[0], &cone, Rung::Punched),
        (&restricted[0], &restricted[1], Rung::Punched),
        (&restricted[1], &cone, Rung::Punched),
        (&restricted[0], &symmetric[0], Rung::Relayed),
        (&symmetric[0], &symmetric[1], Rung::Relayed),
        (&symmetric[1], &restricted[1], Rung::Reverse),
    ];
    std::thread::scope(|scope| {
        for (caller, callee, expected) in cells {
            let field = &field;
            scope.spawn(move || {
                let done = field.attempt(caller, callee);
                let cell = format!("{} → {}", caller.host.namespace, callee.host.namespace);
                assert_eq!(done.reached, Some(expected), "{cell}: {done:?}");
                assert_attributable(&cell, &done, (caller, callee), &field.coordinators);
                // Failing to punch takes the stack nine seconds.
                assert!(
                    done.took < Duration::from_secs(15),
                    "{cell}: {:?}",
                    done.took
                );
            });
        }
    });
}

/// Who watches the wire can tell whose flows these are.
fn assert_attributable(
    cell: &str,
    done: &Attempted,
    (caller, callee): (&Tester, &Tester),
    coordinators: &[SocketAddr],
) {
    let rung = done.reached.expect("reached");
    let remote = done.connected.as_ref().expect("connected").remote;
    let (dialler, called, called_end) = match rung {
        Rung::Reverse => (callee, caller, &done.caller.1),
        _ => (caller, callee, &done.callee.1),
    };
    let relayed = matches!(rung, Rung::Relayed | Rung::Reverse);
    if relayed {
        assert!(
            coordinators.iter().any(|c| c.ip() == remote.ip()),
            "{cell}: {remote}"
        );
    } else {
        assert_eq!(remote.ip(), called.host.outer, "{cell}: {remote}");
    }
    // The called side knows the port that a symmetric NAT gave the dialler.
    let seen = called_end
        .remote
        .unwrap_or_else(|| panic!("{cell}: no remote: {done:?}"));
    assert_eq!(seen.ip(), dialler.host.outer, "{cell}: {done:?}");
    for ((prepared, finished), tester) in [(&done.caller, caller), (&done.callee, callee)] {
        let told: BTreeSet<_> = prepared.observed.iter().map(|o| o.by).collect();
        assert!(
            coordinators.iter().all(|c| told.contains(c)),
            "{cell}: {prepared:?}"
        );
        // A relay's address is never a peer's own.
        let own = [tester.host.address, tester.host.outer];
        for address in Attempted::addresses(prepared, finished) {
            assert!(own.contains(&address.ip()), "{cell}: {address}");
        }
    }
}

#[test]
fn two_hundred_attempts_leave_nothing_behind() {
    let mut field = Field::new();
    let (caller, callee) = (field.public("caller"), field.public("callee"));
    rounds(&field, &caller, &callee, 2);
    settle();
    let before = (caller.open_fds(), caller.resident_kib());
    let began = Instant::now();
    rounds(&field, &caller, &callee, 20);
    println!("200 attempts took {:?}", began.elapsed());
    settle();
    let after = (caller.open_fds(), caller.resident_kib());
    println!("descriptors and KiB: {before:?} before, {after:?} after");
    assert!(
        after.0 <= before.0 + 2,
        "descriptors: {before:?} → {after:?}"
    );
}

/// Ten attempts at once, this many times.
fn rounds(field: &Field, caller: &Tester, callee: &Tester, rounds: usize) {
    for _ in 0..rounds {
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    let done = field.attempt(caller, callee);
                    assert_eq!(done.reached, Some(Rung::Direct), "{done:?}");
                });
            }
        });
    }
}

/// Connections drain for a few seconds after an attempt.
fn settle() {
    std::thread::sleep(Duration::from_secs(4));
}
