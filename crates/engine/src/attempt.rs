//! Drives one attempt: prepare both sides, climb the ladder, exchange, finish,
//! and compare what the two sides say with each other and with the wire.

mod evidence;
pub mod load;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::attempt::{Attempt, AttemptStart, Endpoints, Outcome, RungRecord};
use model::explain::explain;
use model::inventory::NodeName;
use model::nat::Certificate;
use model::payload;
use model::protocol::{
    Announce, Announced, AttemptId, Call, ClaimedPath, Connected, Dial, Empty, Exchange, Exchanged,
    Expect, Failure, Finish, Finished, ObservedAddress, Payload, Prepare, Prepared, Reason,
    Received, Rung, Sent, Target,
};

use crate::agent::{Agent, AgentError};
use crate::observer::Observers;

/// What holds for every attempt of a matrix.
#[derive(Clone)]
pub struct Terms {
    pub coordinators: Vec<SocketAddr>,
    pub payload_bytes: u64,
    /// For each rung on its own.
    pub rung_timeout: Duration,
    /// For the payload, both ways.
    pub exchange_timeout: Duration,
    pub observers: Observers,
    /// Every node's addresses.
    pub hosts: Vec<IpAddr>,
    /// As they were measured.
    pub nats: BTreeMap<NodeName, Certificate>,
}

/// One end of an attempt.
#[derive(Clone)]
pub struct End {
    pub agent: Arc<Agent>,
    /// Fresh: no other attempt has this port.
    pub bind: SocketAddr,
    /// Whether others can dial `bind` itself.
    pub public: bool,
    /// Its host's addresses, outside of any NAT.
    pub outer: Vec<IpAddr>,
}

/// Everything that was learnt, whatever the outcome.
pub async fn drive(
    terms: &Terms,
    start: AttemptStart,
    caller: End,
    callee: End,
    at_once: u32,
) -> Attempt {
    let seeds = Seeds {
        caller: random_seed(),
        callee: random_seed(),
    };
    let ends = Ends {
        id: start.id.clone(),
        terms,
        caller,
        callee,
        seeds,
        rungs: &Rung::ALL,
    };
    let began = Timestamp::now();
    let mut climb = Climb::default();
    let result = ends.climb_and_exchange(&mut climb).await;
    let finished = tokio::join!(ends.finish(&ends.caller), ends.finish(&ends.callee));
    let silent = [silence(&finished.0), silence(&finished.1)];
    let (caller_end, callee_end) = (finished.0.ok(), finished.1.ok());
    let endpoints = ends.endpoints(&climb, caller_end.as_ref(), callee_end.as_ref());
    let outcome = match result {
        Ok(exchanged) => ends.compare(&climb, &exchanged, caller_end.as_ref(), callee_end.as_ref()),
        Err(error) => outcome_of(error),
    };
    let outcome = blame(outcome, silent.iter().flatten());
    let account = ends
        .account(&start.cell.pair, &endpoints, terms.payload_bytes)
        .await;
    let outcome = match account.contradiction {
        Some(detail) => Outcome::Infrastructure { detail },
        None => outcome,
    };
    let evidence = ends.evidence(&start.cell.pair, &climb, silent, &account.flows, began);
    let mut attempt = Attempt {
        start,
        outcome,
        observed: account.observed,
        claimed: climb.claimed(),
        connect_ms: climb.connected.as_ref().map(|c| c.elapsed_ms),
        rungs: climb.rungs,
        at_once,
        endpoints,
        explanation: None,
    };
    attempt.explanation = explain(&attempt, &evidence);
    attempt
}

struct Ends<'a> {
    id: AttemptId,
    terms: &'a Terms,
    caller: End,
    callee: End,
    seeds: Seeds,
    /// No other may be tried.
    rungs: &'a [Rung],
}

/// Drawn here and told to the sender alone: whoever reports the digest of a
/// payload has received it.
struct Seeds {
    caller: String,
    callee: String,
}

fn random_seed() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// What the climb has come to so far; kept outside so that a failure loses nothing.
#[derive(Default)]
struct Climb {
    caller: Option<Prepared>,
    callee: Option<Prepared>,
    rungs: Vec<RungRecord>,
    connected: Option<Connected>,
    /// The callee dialled.
    reversed: bool,
}

impl Climb {
    fn claimed(&self) -> ClaimedPath {
        self.connected
            .as_ref()
            .map_or(ClaimedPath::Unknown, |c| c.claimed)
    }
}

/// Who sends what, so that each side's digest can be worked out without it.
#[derive(Clone, Copy)]
enum Who {
    Caller,
    Callee,
}

impl Ends<'_> {
    async fn climb_and_exchange(&self, climb: &mut Climb) -> Result<Exchanged, AgentError> {
        self.climb(climb).await?;
        let dialler = if climb.reversed {
            &self.callee
        } else {
            &self.caller
        };
        self.exchange(dialler).await
    }

    async fn climb(&self, climb: &mut Climb) -> Result<(), AgentError> {
        let (caller, callee) = tokio::join!(
            self.prepare(&self.caller, Who::Caller),
            self.prepare(&self.callee, Who::Callee)
        );
        climb.caller = caller.as_ref().ok().cloned();
        climb.callee = callee.as_ref().ok().cloned();
        let (caller, callee) = (caller?, callee?);

        for rung in self.ladder() {
            let began = Instant::now();
            let mut dialled = Vec::new();
            let tried = match rung {
                Rung::Direct | Rung::Punched => {
                    dialled = target(&callee, &self.callee, &[]).addresses;
                    self.dial_callee(rung, &caller, &callee).await
                }
                Rung::Relayed => {
                    self.dial_relay(rung, &self.caller, &self.callee, &callee, &mut dialled)
                        .await
                }
                Rung::Reverse => {
                    self.dial_relay(rung, &self.callee, &self.caller, &caller, &mut dialled)
                        .await
                }
            };
            let failure = rung_failure(&tried);
            climb.rungs.push(RungRecord {
                rung,
                elapsed_ms: began.elapsed().as_secs_f64() * 1e3,
                timeout_ms: self.rung_ms(),
                dialled: std::mem::take(&mut dialled),
                failure,
            });
            match tried {
                Ok(connected) => {
                    climb.connected = Some(connected);
                    climb.reversed = rung == Rung::Reverse;
                    return Ok(());
                }
                Err(AgentError::Failed { .. }) => {}
                Err(fatal) => return Err(fatal),
            }
        }
        Err(self.no_rung_left(climb))
    }

    /// The rungs that this tester knows and that make sense for this callee:
    /// only a public address can be dialled without any help.
    fn ladder(&self) -> Vec<Rung> {
        let known = &self.caller.agent.hello.rungs;
        known
            .iter()
            .copied()
            .filter(|rung| self.rungs.contains(rung))
            .filter(|rung| *rung != Rung::Direct || self.callee.public)
            .collect()
    }

    async fn prepare(&self, end: &End, who: Who) -> Result<Prepared, AgentError> {
        let call = Call::Prepare(Prepare {
            attempt: self.id.clone(),
            bind: end.bind,
            coordinators: self.terms.coordinators.clone(),
            payload: self.payload(who),
            timeout_ms: self.rung_ms(),
        });
        end.agent.call(call, self.terms.rung_timeout).await
    }

    async fn dial_callee(
        &self,
        rung: Rung,
        caller: &Prepared,
        callee: &Prepared,
    ) -> Result<Connected, AgentError> {
        let expect = Call::Expect(Expect {
            attempt: self.id.clone(),
            rung,
            target: target(caller, &self.caller, &[]),
            timeout_ms: self.rung_ms(),
        });
        let _: Empty = self
            .callee
            .agent
            .call(expect, self.terms.rung_timeout)
            .await?;
        self.dial(rung, &self.caller, target(callee, &self.callee, &[]))
            .await
    }

    /// Has `called` announce a relay, and `dialler` dial it.
    async fn dial_relay(
        &self,
        rung: Rung,
        dialler: &End,
        called: &End,
        prepared: &Prepared,
        dialled: &mut Vec<SocketAddr>,
    ) -> Result<Connected, AgentError> {
        let announce = Call::Announce(Announce {
            attempt: self.id.clone(),
            timeout_ms: self.rung_ms(),
        });
        let announced: Announced = called.agent.call(announce, self.terms.rung_timeout).await?;
        if announced.relays.is_empty() {
            let failure = Failure::new(
                Reason::NoAddress,
                format!("{} announced no relay", called.agent.node),
            );
            return Err(AgentError::Failed {
                node: called.agent.node.clone(),
                method: "announce",
                failure,
            });
        }
        dialled.clone_from(&announced.relays);
        self.dial(rung, dialler, target(prepared, called, &announced.relays))
            .await
    }

    async fn dial(
        &self,
        rung: Rung,
        dialler: &End,
        target: Target,
    ) -> Result<Connected, AgentError> {
        let dial = Call::Dial(Dial {
            attempt: self.id.clone(),
            rung,
            target,
            timeout_ms: self.rung_ms(),
        });
        dialler.agent.call(dial, self.terms.rung_timeout).await
    }

    async fn exchange(&self, dialler: &End) -> Result<Exchanged, AgentError> {
        let timeout = self.terms.exchange_timeout;
        let exchange = Exchange {
            attempt: self.id.clone(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        dialler.agent.call(Call::Exchange(exchange), timeout).await
    }

    async fn finish(&self, end: &End) -> Result<Finished, AgentError> {
        let call = Call::Finish(Finish {
            attempt: self.id.clone(),
        });
        end.agent.call(call, Duration::from_secs(5)).await
    }

    /// Both sides' digests against what this side knows was sent.
    fn compare(
        &self,
        climb: &Climb,
        exchanged: &Exchanged,
        caller: Option<&Finished>,
        callee: Option<&Finished>,
    ) -> Outcome {
        let (dialler, accepter, accepted) = if climb.reversed {
            (Who::Callee, Who::Caller, caller)
        } else {
            (Who::Caller, Who::Callee, callee)
        };
        let forth = self.digest(dialler);
        let back = self.digest(accepter);
        let accepted_bytes = accepted.and_then(|f| f.received.as_ref());
        let verified = is_acknowledged(&exchanged.sent, &forth)
            && is_received(&exchanged.received, &back, self.terms.payload_bytes)
            && accepted_bytes.is_some_and(|r| is_received(r, &forth, self.terms.payload_bytes));
        if verified {
            return Outcome::Success;
        }
        let received =
            accepted_bytes.map_or("nothing".to_owned(), |r| format!("{} bytes", r.bytes));
        Outcome::StackFailure(Failure::new(
            Reason::Corrupt,
            format!(
                "digests do not match: {} bytes sent and {received} received forth, {} received back",
                exchanged.sent.bytes, exchanged.received.bytes
            ),
        ))
    }

    fn endpoints(
        &self,
        climb: &Climb,
        caller: Option<&Finished>,
        callee: Option<&Finished>,
    ) -> Endpoints {
        let mut endpoints = Endpoints {
            caller: known_addresses(&self.caller, climb.caller.as_ref(), caller),
            callee: known_addresses(&self.callee, climb.callee.as_ref(), callee),
        };
        // Each side may know the other's outer address better than the other does.
        let coordinators = &self.terms.coordinators;
        let named_by = |finished: Option<&Finished>| {
            finished
                .and_then(|f| f.remote)
                .filter(|r| !coordinators.contains(r))
        };
        endpoints
            .callee
            .extend(named_by(caller).filter(|a| is_at(*a, &endpoints.callee)));
        endpoints
            .caller
            .extend(named_by(callee).filter(|a| is_at(*a, &endpoints.caller)));
        let sides = [
            (&mut endpoints.caller, &self.caller),
            (&mut endpoints.callee, &self.callee),
        ];
        for (side, end) in sides {
            side.retain(|address| !self.is_elsewhere(address.ip(), end));
            side.sort();
            side.dedup();
        }
        endpoints
    }

    /// Whether this is another node's address, whatever the tester says: a relay's, as
    /// the other side sees it. What goes between the two is not direct.
    fn is_elsewhere(&self, address: IpAddr, end: &End) -> bool {
        self.terms.hosts.contains(&address) && !end.outer.contains(&address)
    }

    fn no_rung_left(&self, climb: &Climb) -> AgentError {
        let tried: Vec<_> = climb
            .rungs
            .iter()
            .filter_map(|r| {
                r.failure
                    .as_ref()
                    .map(|f| format!("{:?}: {f}", r.rung).to_lowercase())
            })
            .collect();
        let reason = climb
            .rungs
            .iter()
            .filter_map(|r| r.failure.as_ref())
            .map(|f| f.reason)
            .max_by_key(|r| severity(*r));
        AgentError::Failed {
            node: self.caller.agent.node.clone(),
            method: "dial",
            failure: Failure::new(reason.unwrap_or(Reason::NoAddress), tried.join("; ")),
        }
    }

    fn payload(&self, who: Who) -> Payload {
        let seed = match who {
            Who::Caller => &self.seeds.caller,
            Who::Callee => &self.seeds.callee,
        };
        Payload {
            seed: seed.clone(),
            bytes: self.terms.payload_bytes,
        }
    }

    fn digest(&self, sender: Who) -> String {
        payload::digest(
            &self.payload(sender).seed,
            usize::try_from(self.terms.payload_bytes).unwrap_or(usize::MAX),
        )
    }

    fn rung_ms(&self) -> u64 {
        u64::try_from(self.terms.rung_timeout.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Which of several rungs' failures says most about an attempt.
fn severity(reason: Reason) -> u8 {
    match reason {
        Reason::NoAddress | Reason::Unsupported => 0,
        Reason::Timeout => 1,
        _ => 2,
    }
}

fn rung_failure(tried: &Result<Connected, AgentError>) -> Option<Failure> {
    match tried {
        Ok(_) => None,
        Err(AgentError::Failed { failure, .. }) => Some(failure.clone()),
        Err(other) => Some(Failure::new(Reason::Closed, other.to_string())),
    }
}

/// A tester that falls silent or dies took the stack with it: a stack failure
/// here, unless the matrix finds that its host is gone.
fn outcome_of(error: AgentError) -> Outcome {
    match error {
        AgentError::Failed {
            failure,
            node,
            method,
        } if failure.reason.is_infrastructure() => Outcome::Infrastructure {
            detail: format!("{method} on {node}: {failure}"),
        },
        AgentError::Failed { failure, .. } => Outcome::StackFailure(failure),
        silent @ AgentError::Silent { .. } => {
            Outcome::StackFailure(Failure::new(Reason::Timeout, silent.to_string()))
        }
        gone @ AgentError::Gone { .. } => {
            Outcome::StackFailure(Failure::new(Reason::Closed, gone.to_string()))
        }
        other => Outcome::Infrastructure {
            detail: other.to_string(),
        },
    }
}

/// Why a side said nothing at the end, if it did not.
fn silence(finished: &Result<Finished, AgentError>) -> Option<String> {
    let error = finished.as_ref().err()?;
    matches!(error, AgentError::Silent { .. } | AgentError::Gone { .. }).then(|| error.to_string())
}

/// The side that still answers says what it missed; the one to look at is the
/// one that does not.
fn blame<'a>(outcome: Outcome, silent: impl Iterator<Item = &'a String>) -> Outcome {
    match outcome {
        Outcome::StackFailure(mut failure) => {
            for who in silent {
                failure.detail = format!("{}; {who}", failure.detail);
            }
            Outcome::StackFailure(failure)
        }
        other => other,
    }
}

/// Where to dial an end: a public one at its own address, else where it was seen.
fn target(prepared: &Prepared, end: &End, relays: &[SocketAddr]) -> Target {
    let mut addresses: Vec<_> = if end.public {
        vec![prepared.local]
    } else {
        prepared
            .observed
            .iter()
            .map(|o: &ObservedAddress| o.address)
            .collect()
    };
    addresses.dedup();
    Target {
        peer: prepared.peer.clone(),
        addresses,
        relays: relays.to_vec(),
    }
}

fn known_addresses(
    end: &End,
    prepared: Option<&Prepared>,
    finished: Option<&Finished>,
) -> Vec<SocketAddr> {
    let mut all = vec![end.bind];
    all.extend(
        prepared
            .iter()
            .flat_map(|p| p.observed.iter().map(|o| o.address)),
    );
    all.extend(
        finished
            .iter()
            .flat_map(|f| f.observed.iter().map(|o| o.address)),
    );
    all
}

fn is_at(address: SocketAddr, known: &[SocketAddr]) -> bool {
    known.iter().any(|k| k.ip() == address.ip())
}

fn is_acknowledged(sent: &Sent, digest: &str) -> bool {
    sent.acknowledged_sha256.as_deref() == Some(digest)
}

fn is_received(received: &Received, digest: &str, bytes: u64) -> bool {
    received.sha256 == digest && received.bytes == bytes
}
