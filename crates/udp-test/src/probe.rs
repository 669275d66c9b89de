//! Measuring the NAT in front of an address, RFC 5780 fashion.
//!
//! The prober is told where reflectors are and nothing of what it should find.
//! It reports what it saw; `model::nat::classify` says what that is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::nat::{FilteringProbe, MappingProbe, Observations};
use model::protocol::{Failure, PortRange, Probe, Reason, Reflector};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::coordinator::bind_udp;
use crate::reflect::{Question, Reply, ask};
use crate::wire::{Answerer, Message, Nonce};

/// A request is repeated this many times within the patience.
const REPEATS: u32 = 5;
/// A port that was probed with has mappings and permissions of its own for a while.
const COOL_OFF: Duration = Duration::from_secs(200);

/// Keeps probes of one process off each other's ports.
#[derive(Default)]
pub struct Prober {
    used: Mutex<HashMap<SocketAddr, Instant>>,
}

/// The times of one measurement.
#[derive(Clone, Copy)]
struct Patience {
    whole: Duration,
    every: Duration,
}

impl Patience {
    fn new(call: &Probe) -> Self {
        let whole = Duration::from_millis(call.patience_ms);
        Self {
            whole,
            every: (whole / REPEATS).max(Duration::from_millis(10)),
        }
    }

    fn over(self) -> Instant {
        Instant::now() + self.whole
    }
}

impl Prober {
    /// # Errors
    /// [`Reason::Infrastructure`] where no port is free or the reflectors do
    /// not work together; a NAT that lets nothing through is no error.
    pub async fn measure(&self, call: &Probe) -> Result<Observations, Failure> {
        let first = *call.reflectors.first().ok_or_else(|| {
            Failure::new(Reason::BadRequest, "a probe needs at least one reflector")
        })?;
        let second = call
            .reflectors
            .iter()
            .find(|r| r.primary.ip() != first.primary.ip())
            .copied();
        let patience = Patience::new(call);
        let (mapping, filtering) = tokio::join!(
            async {
                let socket = self.socket(call).await?;
                let mapping = mapping(&socket, first, second, patience).await?;
                let hairpin = self.hairpin(call, &socket, &mapping, patience).await?;
                Ok::<_, Failure>((mapping, hairpin))
            },
            async {
                let socket = self.socket(call).await?;
                filtering(&socket, first, second, patience).await
            }
        );
        let ((mapping, hairpin), filtering) = (mapping?, filtering?);
        Ok(Observations {
            mapping,
            filtering,
            hairpin,
        })
    }

    /// Sends to our own outer address from another inner port. `None` where
    /// nothing translates, since the datagram would never leave the host.
    async fn hairpin(
        &self,
        call: &Probe,
        socket: &UdpSocket,
        mapping: &MappingProbe,
        patience: Patience,
    ) -> Result<Option<bool>, Failure> {
        let mapped = mapping.seen_by.first().and_then(|(_, at)| *at);
        let Some(mapped) = mapped.filter(|at| at.ip() != mapping.local.ip()) else {
            return Ok(None);
        };
        let other = self.socket(call).await?;
        let nonce = Nonce::random();
        let over = patience.over();
        let mut buffer = [0; 2048];
        while Instant::now() < over {
            let _ = other
                .send_to(&Message::Hairpin { nonce }.encode(), mapped)
                .await;
            let round = (Instant::now() + patience.every).min(over);
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
    let replies = ask(socket, &questions, patience.every, patience.over()).await;
    Ok(MappingProbe {
        local: local(socket)?,
        seen_by: questions
            .iter()
            .zip(replies)
            .map(|(q, r)| (q.to, r.seen))
            .collect(),
    })
}

/// Contacts A's primary port alone, then has others send to the mapping.
async fn filtering(
    socket: &UdpSocket,
    first: Reflector,
    second: Option<Reflector>,
    patience: Patience,
) -> Result<FilteringProbe, Failure> {
    let contact = [Question::new(first.primary, Answerer::Asked)];
    let mapped = ask(socket, &contact, patience.every, patience.over()).await[0].seen;
    let mut probe = FilteringProbe {
        local: local(socket)?,
        mapped,
        from_contacted: mapped.is_some(),
        from_other_port: false,
        from_other_address: second.map(|_| false),
    };
    if mapped.is_none() {
        return Ok(probe);
    }
    let mut questions = vec![Question::new(first.primary, Answerer::OtherPort)];
    questions.extend(second.map(|b| Question::new(first.primary, Answerer::Partner(b.primary))));
    let replies = ask(socket, &questions, patience.every, patience.over()).await;
    for (question, reply) in questions.iter().zip(&replies) {
        believe(question, reply)?;
    }
    probe.from_other_port = replies[0].seen.is_some();
    probe.from_other_address = replies.get(1).map(|r| r.seen.is_some());
    Ok(probe)
}

/// Silence means "filtered" only where somebody is known to have sent.
fn believe(question: &Question, reply: &Reply) -> Result<(), Failure> {
    if reply.seen.is_some() || reply.sent {
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
