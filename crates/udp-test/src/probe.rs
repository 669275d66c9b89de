//! Measuring the NAT in front of an address, RFC 5780 fashion.
//!
//! The prober is told where reflectors are and nothing of what it should find.
//! It reports what it saw; `model::nat::classify` says what that is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use model::nat::{FilteringProbe, MappingProbe, Observations, Silence};
use model::protocol::{Failure, PortRange, Probe, Reason, Reflector};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::coordinator::bind_udp;
use crate::reflect::{Pace, Question, Reply, ask};
use crate::wire::{Answerer, Message, Nonce};

/// A request is repeated this many times within the patience.
const REPEATS: u32 = 5;
/// One that asks others to send is confirmed so often before silence is believed:
/// where one datagram in a hundred is lost, one silence in a million is a lie.
const CONFIRMATIONS: u32 = 3;
const FILTER_EVERY: Duration = Duration::from_millis(50);
/// How long after that a datagram may still be under way, at least.
const LEAST_GRACE: Duration = Duration::from_millis(100);
/// It turns round at the NAT: the way is short.
const HAIRPIN_EVERY: Duration = Duration::from_millis(60);
/// A port that was probed with has mappings and permissions of its own for a while.
const COOL_OFF: Duration = Duration::from_secs(200);

/// Keeps probes of one process off each other's ports.
#[derive(Default)]
pub struct Prober {
    used: Mutex<HashMap<SocketAddr, Instant>>,
}

/// The times of one measurement.
#[derive(Clone, Copy)]
pub struct Patience {
    whole: Duration,
    pub every: Duration,
}

impl Patience {
    fn new(call: &Probe) -> Self {
        let whole = Duration::from_millis(call.patience_ms);
        Self {
            whole,
            every: (whole / REPEATS).max(Duration::from_millis(10)),
        }
    }

    pub fn over(self) -> Instant {
        Instant::now() + self.whole
    }

    fn until_answered(self) -> Pace {
        Pace::until(self.every, self.over())
    }
}

impl Prober {
    /// # Errors
    /// [`Reason::Infrastructure`] where no port is free or the reflectors do
    /// not work together; a NAT that lets nothing through is no error.
    pub async fn measure(&self, call: &Probe) -> Result<Observations, Failure> {
        let patience = Patience::new(call);
        let sockets = [self.socket(call).await?, self.socket(call).await?];
        if let Some(server) = call.stun {
            let [one, two] = &sockets;
            let (mapping, filtering) = crate::stun::measure(server, [one, two], patience).await?;
            let hairpin = self.hairpin(call, one, &mapping).await?;
            return Ok(Observations {
                mapping,
                filtering,
                hairpin,
                silences: Vec::new(),
            });
        }
        let (first, second) = reflectors(call)?;
        let began = Instant::now();
        let [for_mapping, for_filtering] = &sockets;
        let (mapping, contact) = tokio::join!(
            mapping(for_mapping, first, second, patience),
            contact(for_filtering, first, second, patience)
        );
        let (mapping, contact) = (mapping?, contact?);
        // What the slowest of three answers took, a datagram that is under way takes too.
        let grace = (began.elapsed() * 3 / 2)
            .max(LEAST_GRACE)
            .min(patience.whole);
        let (filtering, hairpin, silences) = tokio::join!(
            filtering(for_filtering, contact, first, second, patience, grace),
            self.hairpin(call, for_mapping, &mapping),
            self.silences(call, first, patience, grace),
        );
        Ok(Observations {
            mapping,
            filtering: filtering?,
            hairpin: hairpin?,
            silences: silences?,
        })
    }

    /// Sends to our own outer address from another inner port. `None` where
    /// nothing translates, since the datagram would never leave the host.
    async fn hairpin(
        &self,
        call: &Probe,
        socket: &UdpSocket,
        mapping: &MappingProbe,
    ) -> Result<Option<bool>, Failure> {
        let mapped = mapping.seen_by.first().and_then(|(_, at)| *at);
        let Some(mapped) = mapped.filter(|at| at.ip() != mapping.local.ip()) else {
            return Ok(None);
        };
        let other = self.socket(call).await?;
        let nonce = Nonce::random();
        let mut buffer = [0; 2048];
        for _ in 0..REPEATS {
            let _ = other
                .send_to(&Message::Hairpin { nonce }.encode(), mapped)
                .await;
            let round = Instant::now() + HAIRPIN_EVERY;
            while let Ok(received) = timeout_at(round, socket.recv_from(&mut buffer)).await {
                let message = received
                    .ok()
                    .and_then(|(n, _)| Message::decode(&buffer[..n]));
                if message == Some(Message::Hairpin { nonce }) {
                    return Ok(Some(true));
                }
            }
        }
        Ok(Some(false))
    }

    /// Every silence on a port of its own, all at once.
    async fn silences(
        &self,
        call: &Probe,
        first: Reflector,
        patience: Patience,
        grace: Duration,
    ) -> Result<Vec<Silence>, Failure> {
        let mut sockets = Vec::new();
        for milliseconds in &call.silences_ms {
            sockets.push((self.socket(call).await?, *milliseconds));
        }
        let kept = sockets
            .iter()
            .map(|(socket, milliseconds)| silence(socket, *milliseconds, first, patience, grace));
        join_all(kept).await.into_iter().collect()
    }

    /// A socket on a port of the range that has rested.
    async fn socket(&self, call: &Probe) -> Result<UdpSocket, Failure> {
        let PortRange { first, last } = call.ports;
        if first > last {
            return Err(Failure::new(
                Reason::BadRequest,
                format!("the port range {first}–{last} is empty"),
            ));
        }
        let count = u32::from(last - first) + 1;
        let start: u32 = rand::random_range(0..count);
        for step in 0..count {
            let offset = u16::try_from((start + step) % count).unwrap_or(0);
            let address = SocketAddr::new(call.address, first + offset);
            if self.is_rested(address)
                && let Ok(socket) = bind_udp(address).await
            {
                return Ok(socket);
            }
        }
        Err(Failure::new(
            Reason::Infrastructure,
            format!(
                "no port of {first}–{last} on {} is free and unused for {COOL_OFF:?}",
                call.address
            ),
        ))
    }

    /// Takes the port if so.
    fn is_rested(&self, address: SocketAddr) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, at| at.elapsed() < COOL_OFF);
        let rested = !used.contains_key(&address);
        if rested {
            used.insert(address, Instant::now());
        }
        rested
    }
}

/// One inner port to A, A' and B.
async fn mapping(
    socket: &UdpSocket,
    first: Reflector,
    second: Option<Reflector>,
    patience: Patience,
) -> Result<MappingProbe, Failure> {
    let destinations = [Some(first.primary), Some(first.alternate)]
        .into_iter()
        .chain([second.map(|r| r.primary)])
        .flatten();
    let questions: Vec<_> = destinations
        .map(|to| Question::new(to, Answerer::Asked))
        .collect();
    let replies = ask(socket, &questions, patience.until_answered()).await;
    Ok(MappingProbe {
        local: local(socket)?,
        seen_by: questions
            .iter()
            .zip(replies)
            .map(|(q, r)| (q.to, r.seen))
            .collect(),
    })
}

/// Contacts A's primary port alone.
async fn contact(
    socket: &UdpSocket,
    first: Reflector,
    second: Option<Reflector>,
    patience: Patience,
) -> Result<FilteringProbe, Failure> {
    let contact = [Question::new(first.primary, Answerer::Asked)];
    let mapped = ask(socket, &contact, patience.until_answered()).await[0].seen;
    Ok(FilteringProbe {
        local: local(socket)?,
        mapped,
        from_contacted: mapped.is_some(),
        from_other_port: false,
        from_other_address: second.map(|_| false),
        seen_after_inbound: None,
    })
}

/// Has others send to the mapping, and sends to one of them at last.
async fn filtering(
    socket: &UdpSocket,
    mut probe: FilteringProbe,
    first: Reflector,
    second: Option<Reflector>,
    patience: Patience,
    grace: Duration,
) -> Result<FilteringProbe, Failure> {
    if probe.mapped.is_none() {
        return Ok(probe);
    }
    let mut questions = vec![Question::new(first.primary, Answerer::OtherPort)];
    questions.extend(second.map(|b| Question::new(first.primary, Answerer::Partner(b.primary))));
    let pace = Pace {
        every: FILTER_EVERY.min(patience.every),
        until: patience.over(),
        enough: CONFIRMATIONS,
        grace,
    };
    let replies = ask(socket, &questions, pace).await;
    for (question, reply) in questions.iter().zip(&replies) {
        believe(question, reply)?;
    }
    probe.from_other_port = replies[0].seen.is_some();
    probe.from_other_address = replies.get(1).map(|r| r.seen.is_some());
    if let Some(second) = second.filter(|_| probe.from_other_address == Some(false)) {
        let again = [Question::new(second.primary, Answerer::Asked)];
        probe.seen_after_inbound = ask(socket, &again, patience.until_answered()).await[0].seen;
    }
    Ok(probe)
}

/// Whether an answer comes through after so much silence.
async fn silence(
    socket: &UdpSocket,
    milliseconds: u64,
    first: Reflector,
    patience: Patience,
    grace: Duration,
) -> Result<Silence, Failure> {
    let failed = |what: &str| {
        Err(Failure::new(
            Reason::Infrastructure,
            format!("reflector {} {what}", first.primary),
        ))
    };
    let contact = [Question::new(first.primary, Answerer::Asked)];
    if ask(socket, &contact, patience.until_answered()).await[0]
        .seen
        .is_none()
    {
        return failed("did not answer before a silence");
    }
    let delay = u32::try_from(milliseconds).unwrap_or(u32::MAX);
    let late = [Question::new(first.primary, Answerer::Later(delay))];
    let pace = Pace {
        enough: 1,
        grace: Duration::from_millis(milliseconds) + grace,
        ..patience.until_answered()
    };
    let reply = ask(socket, &late, pace).await[0];
    if reply.sent == 0 && reply.seen.is_none() {
        return failed("did not promise to answer after a silence");
    }
    Ok(Silence {
        milliseconds,
        came_through: reply.seen.is_some(),
    })
}

/// The first two of different addresses.
fn reflectors(call: &Probe) -> Result<(Reflector, Option<Reflector>), Failure> {
    let first = *call
        .reflectors
        .first()
        .ok_or_else(|| Failure::new(Reason::BadRequest, "a probe needs at least one reflector"))?;
    let second = call
        .reflectors
        .iter()
        .find(|r| r.primary.ip() != first.primary.ip());
    Ok((first, second.copied()))
}

/// Silence means "filtered" only where somebody is known to have sent.
fn believe(question: &Question, reply: &Reply) -> Result<(), Failure> {
    if reply.seen.is_some() || reply.sent > 0 {
        return Ok(());
    }
    let what = if reply.refused {
        "it does not know that partner"
    } else {
        "it never said so"
    };
    Err(Failure::new(
        Reason::Infrastructure,
        format!(
            "reflector {} was asked to have {:?} answer: {what}, so silence proves nothing",
            question.to, question.answerer
        ),
    ))
}

fn local(socket: &UdpSocket) -> Result<SocketAddr, Failure> {
    socket
        .local_addr()
        .map_err(|error| Failure::new(Reason::Infrastructure, error.to_string()))
}
