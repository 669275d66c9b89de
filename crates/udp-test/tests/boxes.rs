//! All nine behaviours, and what else a NAT can be, in real kernels: the prober
//! says what they are, and plain UDP does with them what theory says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use model::nat::theory::{End, Prediction, predict, predict_if_first};
use model::nat::{Behaviour, Certificate, Front, Inbound, NatSpec, Udp, classify};
use model::protocol::{Call, Probe, Reflector};
use testnet::{Background, Host, Net, PORTS, Tester, meet};

const BINARY: &str = env!("CARGO_BIN_EXE_udp-test");

/// Long enough for a packet to arrive before the other side sends.
const HEAD_START: Duration = Duration::from_millis(80);

struct Field {
    net: Net,
    coordinators: Vec<SocketAddr>,
    _running: Vec<Background>,
}

impl Field {
    fn new() -> Self {
        let mut net = Net::new();
        let hosts = [net.public("a"), net.public("b")];
        let at = |host: &Host| SocketAddr::new(host.address, 9100);
        let coordinators = hosts.each_ref().map(at);
        let start = |host: &Host, partner: SocketAddr| {
            Background::coordinator(host, BINARY, at(host), &[partner])
        };
        let running = vec![
            start(&hosts[0], coordinators[1]),
            start(&hosts[1], coordinators[0]),
        ];
        Self {
            net,
            coordinators: coordinators.to_vec(),
            _running: running,
        }
    }

    fn behind(&mut self, name: &str, spec: impl Into<NatSpec>) -> Tester {
        Tester::start(&self.net.behind(name, spec), BINARY)
    }

    fn certify(&self, tester: &Tester, silences_ms: &[u64]) -> Certificate {
        let alternate = |a: &SocketAddr| SocketAddr::new(a.ip(), a.port() + 1);
        let reflectors = self.coordinators.iter().map(|a| Reflector {
            primary: *a,
            alternate: alternate(a),
        });
        let probe = Call::Probe(Probe {
            address: tester.host.address,
            ports: PORTS,
            reflectors: reflectors.collect(),
            patience_ms: 1500,
            silences_ms: silences_ms.to_vec(),
            stun: None,
        });
        classify(&tester.call(probe).expect("a probe"))
    }
}

#[test]
fn all_nine_are_measured_as_what_they_are() {
    let mut field = Field::new();
    let mut testers = Vec::new();
    for (index, behaviour) in Behaviour::ALL.into_iter().enumerate() {
        testers.push((behaviour, field.behind(&format!("n{index}"), behaviour)));
    }
    std::thread::scope(|scope| {
        for (behaviour, tester) in &testers {
            let field = &field;
            scope.spawn(move || {
                let certificate = field.certify(tester, &[]);
                assert_eq!(
                    certificate.check((*behaviour).into()),
                    Ok(()),
                    "{certificate:#?}"
                );
                assert!(certificate.hairpin.is_some() && !certificate.partial);
            });
        }
    });
    let open = Tester::start(&field.net.public("open"), BINARY);
    assert_eq!(field.certify(&open, &[]).front, Front::Nothing);
}

#[test]
fn what_else_a_nat_can_be_is_measured_too() {
    let mut field = Field::new();
    let plain = NatSpec::from(Behaviour::PORT_RESTRICTED);
    let cone = NatSpec::from(Behaviour::FULL_CONE);
    let specs = [
        NatSpec {
            hairpin: true,
            ..plain
        },
        NatSpec {
            hairpin: true,
            ..NatSpec::from(Behaviour::SYMMETRIC)
        },
        NatSpec {
            port_preservation: false,
            ..plain
        },
        NatSpec {
            port_preservation: false,
            port_block: Some(64),
            ..cone
        },
        NatSpec {
            inbound: Inbound::CreatesState,
            ..plain
        },
        NatSpec {
            udp_timeout: Some(5),
            ..plain
        },
        NatSpec {
            udp_timeout: Some(5),
            ..cone
        },
        NatSpec {
            udp: Udp::Blocked,
            ..plain
        },
    ];
    let mut testers = Vec::new();
    for (index, spec) in specs.into_iter().enumerate() {
        testers.push((spec, field.behind(&format!("o{index}"), spec)));
    }
    std::thread::scope(|scope| {
        for (spec, tester) in &testers {
            let field = &field;
            scope.spawn(move || {
                let silences: &[u64] = if spec.udp_timeout.is_some() {
                    &[3500, 4300, 6000]
                } else {
                    &[]
                };
                let certificate = field.certify(tester, silences);
                assert_eq!(certificate.check(*spec), Ok(()), "{spec}: {certificate:#?}");
                // Nothing passes for plain, and none of the others is.
                let other = NatSpec::from(Behaviour::ADDRESS_RESTRICTED);
                assert!(certificate.check(other).is_err(), "{spec}");
                if *spec != plain {
                    let is_plain = certificate.check(plain).is_ok();
                    assert_eq!(
                        is_plain,
                        spec.udp_timeout.is_some() && spec.behaviour == plain.behaviour,
                        "{spec}"
                    );
                }
            });
        }
    });
}

/// 45 unordered pairs, ten times each; where it depends on whose packet comes
/// first, in both orders.
#[test]
fn real_kernels_agree_with_theory_in_all_pairs() {
    let mut field = Field::new();
    let two_of_each: Vec<[Tester; 2]> = Behaviour::ALL
        .into_iter()
        .enumerate()
        .map(|(index, behaviour)| {
            ["x", "y"].map(|side| field.behind(&format!("{side}{index}"), behaviour))
        })
        .collect();
    let began = Instant::now();
    let wrong = std::thread::scope(|scope| {
        let mut pairs = Vec::new();
        for (i, a) in Behaviour::ALL.into_iter().enumerate() {
            for (j, b) in Behaviour::ALL.into_iter().enumerate().skip(i) {
                let (one, other) = (&two_of_each[i][0], &two_of_each[j][1]);
                let coordinators = &field.coordinators;
                pairs.push(scope.spawn(move || disagreements(coordinators, (a, one), (b, other))));
            }
        }
        assert_eq!(pairs.len(), 45);
        let all = pairs.into_iter().map(|pair| pair.join().expect("no panic"));
        all.flatten().collect::<Vec<String>>()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("45 pairs, ten times each, in {:?}", began.elapsed());
}

fn disagreements(
    coordinators: &[SocketAddr],
    (a, one): (Behaviour, &Tester),
    (b, other): (Behaviour, &Tester),
) -> Vec<String> {
    let mut orders = vec![((a, one), (b, other))];
    if predict(Some(a), Some(b)) == Prediction::Sometimes {
        orders.push(((b, other), (a, one)));
    }
    let mut wrong = Vec::new();
    for ((first, sends_first), (second, sends_second)) in orders {
        let expected = predict_if_first(Some(first), Some(second)) == Prediction::Always;
        let timeout = Duration::from_millis(if expected { 5000 } else { 800 });
        let met = (0..10)
            .filter(|_| meet(sends_first, sends_second, coordinators, HEAD_START, timeout))
            .count();
        if met != if expected { 10 } else { 0 } {
            wrong.push(format!("{first} first, then {second}: {met} of 10"));
        }
    }
    wrong
}

/// The router that takes early inbound for its own: what theory calls luck.
#[test]
fn inbound_that_creates_state_decides_by_who_is_first() {
    let mut field = Field::new();
    let spec = NatSpec {
        inbound: Inbound::CreatesState,
        ..NatSpec::from(Behaviour::PORT_RESTRICTED)
    };
    let poisoned = field.behind("poisoned", spec);
    let plain = field.behind("plain", Behaviour::PORT_RESTRICTED);
    let end = |tester: &Tester| -> End {
        if std::ptr::eq(tester, &poisoned) {
            spec.end()
        } else {
            Some(Behaviour::PORT_RESTRICTED).into()
        }
    };
    for (first, second) in [(&poisoned, &plain), (&plain, &poisoned)] {
        let expected = predict_if_first(end(first), end(second)) == Prediction::Always;
        for _ in 0..3 {
            let timeout = Duration::from_secs(1);
            let met = meet(first, second, &field.coordinators, HEAD_START, timeout);
            assert_eq!(met, expected, "{:?} first", end(first));
        }
    }
}
