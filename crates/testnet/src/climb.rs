//! An attempt as the engine drives it, in a few blocking lines.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::payload;
use model::protocol::{
    Announce, Announced, AttemptId, Call, Connected, Dial, Empty, Exchange, Exchanged, Expect,
    Failure, Finish, Finished, Payload, Prepare, Prepared, Reason, Rung, Target,
};

use crate::tester::Tester;

pub const PAYLOAD_BYTES: u64 = 262_144;

static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// What became of an attempt.
#[derive(Debug)]
pub struct Attempted {
    /// The rung that carried the payload; both digests were checked.
    pub reached: Option<Rung>,
    pub connected: Option<Connected>,
    pub failures: Vec<(Rung, Failure, Duration)>,
    pub caller: (Prepared, Finished),
    pub callee: (Prepared, Finished),
    pub took: Duration,
}

impl Attempted {
    /// Every address that each side was known by.
    pub fn addresses(prepared: &Prepared, finished: &Finished) -> Vec<SocketAddr> {
        let observed = prepared.observed.iter().chain(&finished.observed);
        observed
            .map(|o| o.address)
            .chain([finished.local])
            .collect()
    }
}

/// The rungs for this callee, as the engine picks them.
pub fn ladder(caller: &Tester, callee: &Tester) -> Vec<Rung> {
    let hello: model::protocol::Hello = caller.call(Call::Hello).expect("hello");
    let mut rungs = hello.rungs;
    rungs.retain(|rung| *rung != Rung::Direct || callee.host.is_public());
    rungs
}

struct Side<'a> {
    tester: &'a Tester,
    prepared: Prepared,
    seed: String,
}

/// Drives one attempt over these rungs, each bounded by `rung_timeout`.
pub fn climb(
    caller: &Tester,
    callee: &Tester,
    coordinators: &[SocketAddr],
    rungs: &[Rung],
    rung_timeout: Duration,
) -> Attempted {
    let began = Instant::now();
    let number = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let id = AttemptId(format!("{}-{number}", std::process::id()));
    let timeout_ms = u64::try_from(rung_timeout.as_millis()).expect("a sensible timeout");
    let prepare = |tester, role: &str| {
        let seed = format!("{id}-{role}");
        prepare(tester, &id, &seed, coordinators, timeout_ms)
    };
    let (caller, callee) = both(|| prepare(caller, "caller"), || prepare(callee, "callee"));

    let (mut reached, mut connected, mut failures) = (None, None, Vec::new());
    for &rung in rungs {
        let rung_began = Instant::now();
        match try_rung(&id, rung, &caller, &callee, timeout_ms) {
            Ok(found) => {
                exchange(&id, rung, &caller, &callee);
                (reached, connected) = (Some(rung), Some(found));
                break;
            }
            Err(failure) => failures.push((rung, failure, rung_began.elapsed())),
        }
    }
    let finish = |side: &Side<'_>| -> Finished {
        let finish = Call::Finish(Finish {
            attempt: id.clone(),
        });
        side.tester.call(finish).expect("finish")
    };
    let (caller_end, callee_end) = both(|| finish(&caller), || finish(&callee));
    if let Some(rung) = reached {
        let (accepter, seed) = match rung {
            Rung::Reverse => (&caller_end, &callee.seed),
            _ => (&callee_end, &caller.seed),
        };
        let received = accepter.received.as_ref().expect("the accepter received");
        assert_eq!(received.sha256, digest(seed), "what the accepter received");
    }
    Attempted {
        reached,
        connected,
        failures,
        caller: (caller.prepared, caller_end),
        callee: (callee.prepared, callee_end),
        took: began.elapsed(),
    }
}

/// Whether the two find a path by simultaneous open, where `first` sends so much
/// earlier. No payload is moved: a probe that was acknowledged went both ways.
pub fn meet(
    first: &Tester,
    second: &Tester,
    coordinators: &[SocketAddr],
    head_start: Duration,
    timeout: Duration,
) -> bool {
    let number = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let id = AttemptId(format!("{}-{number}", std::process::id()));
    let timeout_ms = u64::try_from(timeout.as_millis()).expect("a sensible timeout");
    let prepare = |tester, role: &str| {
        let seed = format!("{id}-{role}");
        prepare(tester, &id, &seed, coordinators, 5_000)
    };
    let (one, other) = both(|| prepare(first, "first"), || prepare(second, "second"));
    let expect = Call::Expect(Expect {
        attempt: id.clone(),
        rung: Rung::Punched,
        target: target(&other, &[]),
        timeout_ms: timeout_ms + 5_000,
    });
    let _: Empty = first.call(expect).expect("expect");
    std::thread::sleep(head_start);
    let dialled = second.call::<Connected>(Call::Dial(Dial {
        attempt: id.clone(),
        rung: Rung::Punched,
        target: target(&one, &[]),
        timeout_ms,
    }));
    for side in [&one, &other] {
        let attempt = id.clone();
        let _: Finished = side
            .tester
            .call(Call::Finish(Finish { attempt }))
            .expect("finish");
    }
    match dialled {
        Ok(_) => true,
        Err(failure) if failure.reason == Reason::Timeout => false,
        Err(failure) => panic!("{failure}"),
    }
}

fn prepare<'a>(
    tester: &'a Tester,
    id: &AttemptId,
    seed: &str,
    coordinators: &[SocketAddr],
    timeout_ms: u64,
) -> Side<'a> {
    let call = Call::Prepare(Prepare {
        attempt: id.clone(),
        bind: tester.fresh_bind(),
        coordinators: coordinators.to_vec(),
        payload: Payload {
            seed: seed.to_owned(),
            bytes: PAYLOAD_BYTES,
        },
        timeout_ms,
    });
    let prepared = tester
        .call(call)
        .unwrap_or_else(|failure| panic!("prepare on {}: {failure}", tester.host.namespace));
    Side {
        tester,
        prepared,
        seed: seed.to_owned(),
    }
}

fn try_rung(
    id: &AttemptId,
    rung: Rung,
    caller: &Side<'_>,
    callee: &Side<'_>,
    timeout_ms: u64,
) -> Result<Connected, Failure> {
    let (dialler, called) = match rung {
        Rung::Reverse => (callee, caller),
        _ => (caller, callee),
    };
    let relays = match rung {
        Rung::Direct | Rung::Punched => {
            let _: Empty = called.tester.call(Call::Expect(Expect {
                attempt: id.clone(),
                rung,
                target: target(dialler, &[]),
                timeout_ms,
            }))?;
            Vec::new()
        }
        Rung::Relayed | Rung::Reverse => {
            let announced: Announced = called.tester.call(Call::Announce(Announce {
                attempt: id.clone(),
                timeout_ms,
            }))?;
            if announced.relays.is_empty() {
                return Err(Failure::new(Reason::NoAddress, "no relay was announced"));
            }
            announced.relays
        }
    };
    dialler.tester.call(Call::Dial(Dial {
        attempt: id.clone(),
        rung,
        target: target(called, &relays),
        timeout_ms,
    }))
}

fn exchange(id: &AttemptId, rung: Rung, caller: &Side<'_>, callee: &Side<'_>) {
    let (dialler, called) = match rung {
        Rung::Reverse => (callee, caller),
        _ => (caller, callee),
    };
    let done: Exchanged = dialler
        .tester
        .call(Call::Exchange(Exchange {
            attempt: id.clone(),
            timeout_ms: 20_000,
        }))
        .unwrap_or_else(|failure| panic!("exchange over {rung:?}: {failure}"));
    assert_eq!(done.sent.acknowledged_sha256, Some(digest(&dialler.seed)));
    assert_eq!(done.received.sha256, digest(&called.seed));
    assert_eq!(
        (done.sent.bytes, done.received.bytes),
        (PAYLOAD_BYTES, PAYLOAD_BYTES)
    );
}

fn target(side: &Side<'_>, relays: &[SocketAddr]) -> Target {
    let mut addresses: Vec<_> = if side.tester.host.is_public() {
        vec![side.prepared.local]
    } else {
        side.prepared.observed.iter().map(|o| o.address).collect()
    };
    addresses.dedup();
    Target {
        peer: side.prepared.peer.clone(),
        addresses,
        relays: relays.to_vec(),
    }
}

fn digest(seed: &str) -> String {
    payload::digest(seed, usize::try_from(PAYLOAD_BYTES).expect("it fits"))
}

fn both<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().expect("the other side did not panic"), other)
    })
}
