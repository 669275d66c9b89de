//! Plain UDP through real NATs must do exactly what theory says.

use std::net::SocketAddr;
use std::time::Duration;

use model::nat::classify;
use model::nat::{Behaviour, Observations};
use model::protocol::{Call, PortRange, Probe, Reason, Reflector, Rung};
use testnet::{Attempted, Background, Host, Nat, Net, Tester, climb, ladder};

const BINARY: &str = env!("CARGO_BIN_EXE_udp-test");

struct Field {
    net: Net,
    coordinators: Vec<SocketAddr>,
    _running: Vec<Background>,
}

impl Field {
    /// Two public coordinators that are partners.
    fn new() -> Self {
        let mut net = Net::new();
        let hosts = [net.public("a"), net.public("b")];
        let at = |host: &Host| SocketAddr::new(host.address, 9100);
        let coordinators: Vec<_> = hosts.iter().map(at).collect();
        let running = hosts
            .iter()
            .map(|host| {
                let partners: Vec<_> = coordinators
                    .iter()
                    .filter(|c| c.ip() != host.address)
                    .copied()
                    .collect();
                Background::coordinator(host, BINARY, at(host), &partners)
            })
            .collect();
        Self {
            net,
            coordinators,
            _running: running,
        }
    }

    fn reflectors(&self) -> Vec<Reflector> {
        let alternate = |a: &SocketAddr| SocketAddr::new(a.ip(), a.port() + 1);
        self.coordinators
            .iter()
            .map(|a| Reflector {
                primary: *a,
                alternate: alternate(a),
            })
            .collect()
    }

    fn probe(&self, tester: &Tester) -> Observations {
        tester
            .call(Call::Probe(Probe {
                address: tester.host.address,
                ports: PortRange {
                    first: 30_000,
                    last: 30_999,
                },
                reflectors: self.reflectors(),
                patience_ms: 500,
                silences_ms: Vec::new(),
                stun: None,
            }))
            .expect("a probe")
    }
}

#[test]
fn the_matrix_is_the_one_that_theory_computes() {
    let mut field = Field::new();
    let mut peers = vec![(None, Tester::start(&field.net.public("open"), BINARY))];
    for nat in Nat::ALL {
        let host = field.net.behind(&format!("{nat:?}").to_lowercase(), nat);
        peers.push((Some(nat), Tester::start(&host, BINARY)));
    }
    // The second of a kind, so that like meets like.
    let restricted = field.net.behind("restricted2", Nat::PortRestricted);
    peers.push((
        Some(Nat::PortRestricted),
        Tester::start(&restricted, BINARY),
    ));

    std::thread::scope(|scope| {
        for (from, caller) in &peers {
            for (to, callee) in &peers {
                if std::ptr::eq(caller, callee) {
                    continue;
                }
                let coordinators = &field.coordinators;
                scope.spawn(move || cell(coordinators, *from, caller, *to, callee));
            }
        }
    });
}

fn cell(
    coordinators: &[SocketAddr],
    from: Option<Nat>,
    caller: &Tester,
    to: Option<Nat>,
    callee: &Tester,
) {
    let possible = !matches!(
        (from, to),
        (Some(Nat::PortRestricted), Some(Nat::Symmetric))
            | (
                Some(Nat::Symmetric),
                Some(Nat::PortRestricted | Nat::Symmetric)
            )
    );
    let timeout = Duration::from_secs(3);
    let done = climb(
        caller,
        callee,
        coordinators,
        &ladder(caller, callee),
        timeout,
    );
    assert_eq!(
        done.reached.is_some(),
        possible,
        "{from:?} → {to:?}: {done:?}"
    );
    if possible {
        assert_eq!(done.reached == Some(Rung::Direct), to.is_none());
        assert_attributable(&done);
    } else {
        let (_, failure, took) = &done.failures[0];
        assert_eq!(failure.reason, Reason::Timeout);
        assert!(*took < timeout + Duration::from_millis(700), "{took:?}");
    }
}

/// Each side's remote is an address that is known to be the other's.
fn assert_attributable(done: &Attempted) {
    let sides = [(&done.caller, &done.callee), (&done.callee, &done.caller)];
    for ((_, finished), (other, other_end)) in sides {
        let remote = finished.remote.expect("a remote");
        let known = Attempted::addresses(other, other_end);
        assert!(known.contains(&remote), "{remote} is none of {known:?}");
    }
}

#[test]
fn probes_side_by_side_do_not_disturb_each_other() {
    let mut field = Field::new();
    let tester = Tester::start(&field.net.behind("cone", Nat::FullCone), BINARY);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let behaviour = classify(&field.probe(&tester)).behaviour();
                assert_eq!(behaviour, Some(Behaviour::FULL_CONE));
            });
        }
    });
}

#[test]
fn a_lossy_path_changes_no_result() {
    let mut field = Field::new();
    let hosts = [
        field.net.public("open"),
        field.net.behind("restricted", Nat::PortRestricted),
    ];
    for host in &hosts {
        host.lose(5);
    }
    let [open, restricted] = hosts.each_ref().map(|host| Tester::start(host, BINARY));
    let timeout = Duration::from_secs(3);
    for (caller, callee) in [(&open, &restricted), (&restricted, &open)] {
        for _ in 0..3 {
            let rungs = ladder(caller, callee);
            let done = climb(caller, callee, &field.coordinators, &rungs, timeout);
            assert!(done.reached.is_some(), "{done:?}");
        }
    }
    for _ in 0..3 {
        let certificate = classify(&field.probe(&restricted));
        assert_eq!(certificate.behaviour(), Some(Behaviour::PORT_RESTRICTED));
    }
}
