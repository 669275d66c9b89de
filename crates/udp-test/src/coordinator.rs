//! The public side: tells a client its outer address, from this port, from the
//! other one, or through a partner.
//!
//! Partners prove themselves by a cookie that only they can have received, so
//! that nobody else can make a coordinator send to a third address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::protocol::{Failure, Reason};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info};

use crate::wire::{Answerer, Message, Nonce};

/// How often a partner that has not answered is greeted.
const GREET_EVERY: Duration = Duration::from_millis(200);
/// One that has answered is greeted once in so many rounds: it may have restarted.
const GREET_AGAIN: u64 = 10;

/// Answers that are due later, and the longest that one may be put off.
const LATER_AT_ONCE: usize = 1024;
const LATEST: Duration = Duration::from_secs(600);
/// A late answer is sent so often: one lost datagram is no expired mapping.
const LATE_COPIES: u32 = 3;
const LATE_EVERY: Duration = Duration::from_millis(30);

struct Coordinator {
    primary: Arc<UdpSocket>,
    /// The next port.
    alternate: Arc<UdpSocket>,
    later: Arc<Semaphore>,
    partners: HashMap<SocketAddr, Partner>,
}

struct Partner {
    /// What it must show to be obeyed.
    ours: Nonce,
    /// What it told us to show.
    theirs: Option<Nonce>,
    greeting: Nonce,
}

/// Serves until dropped.
pub async fn serve(bind: SocketAddr, partners: Vec<SocketAddr>) -> Result<(), Failure> {
    let mut coordinator = Coordinator::bind(bind, partners).await?;
    info!("reflecting on {bind} and the next port");
    let mut greet = interval(GREET_EVERY);
    greet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut round = 0;
    let (mut one, mut other) = ([0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            _ = greet.tick() => {
                coordinator.greet_partners(round).await;
                round += 1;
            }
            Ok((length, from)) = coordinator.primary.recv_from(&mut one) => {
                coordinator.handle(Port::Primary, &one[..length], from).await;
            }
            Ok((length, from)) = coordinator.alternate.recv_from(&mut other) => {
                coordinator.handle(Port::Alternate, &other[..length], from).await;
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Primary,
    Alternate,
}

impl Coordinator {
    async fn bind(bind: SocketAddr, partners: Vec<SocketAddr>) -> Result<Self, Failure> {
        let mut next = bind;
        next.set_port(bind.port().checked_add(1).ok_or_else(|| {
            Failure::new(
                Reason::BadRequest,
                "port 65535 leaves no other port to answer from",
            )
        })?);
        let partner = |address| {
            let fresh = Partner {
                ours: Nonce::random(),
                theirs: None,
                greeting: Nonce::random(),
            };
            (address, fresh)
        };
        Ok(Self {
            primary: bind_udp(bind).await?.into(),
            alternate: bind_udp(next).await?.into(),
            later: Arc::new(Semaphore::new(LATER_AT_ONCE)),
            partners: partners.into_iter().map(partner).collect(),
        })
    }

    async fn greet_partners(&mut self, round: u64) {
        let again = round.is_multiple_of(GREET_AGAIN);
        let due = |partner: &Partner| again || partner.theirs.is_none();
        for (address, partner) in self.partners.iter_mut().filter(|(_, p)| due(p)) {
            partner.greeting = Nonce::random();
            let greeting = Message::Greet {
                nonce: partner.greeting,
            };
            send(&self.primary, &greeting.encode_padded(), *address).await;
        }
    }

    async fn handle(&mut self, port: Port, datagram: &[u8], from: SocketAddr) {
        let Some(message) = Message::decode(datagram) else {
            return;
        };
        let asked = self.socket(port);
        match message {
            Message::Reflect { nonce, answerer } => {
                self.reflect(port, nonce, answerer, from, datagram.len())
                    .await;
            }
            Message::Greet { nonce } => {
                if let Some(partner) = self.partners.get(&from) {
                    let cookie = partner.ours;
                    let reply = Message::Greeted { nonce, cookie }.encode();
                    reply_within(asked, &reply, from, datagram.len()).await;
                }
            }
            Message::Greeted { nonce, cookie } => {
                if let Some(partner) = self.partners.get_mut(&from)
                    && partner.greeting == nonce
                {
                    partner.theirs = Some(cookie);
                }
            }
            Message::Forward {
                cookie,
                nonce,
                client,
            } => self.answer_for(from, cookie, nonce, client).await,
            Message::Forwarded { nonce, client } if self.partners.contains_key(&from) => {
                send(
                    &self.primary,
                    &Message::AnswerSent { nonce }.encode(),
                    client,
                )
                .await;
            }
            _ => {}
        }
    }

    async fn reflect(
        &self,
        port: Port,
        nonce: Nonce,
        answerer: Answerer,
        client: SocketAddr,
        room: usize,
    ) {
        let asked = self.socket(port);
        let reflected = Message::Reflected {
            nonce,
            address: client,
        }
        .encode();
        match answerer {
            Answerer::Asked => reply_within(asked, &reflected, client, room).await,
            // Two answers to one request, and together no longer than it.
            Answerer::OtherPort => {
                let sent = Message::AnswerSent { nonce }.encode();
                if reflected.len() + sent.len() <= room {
                    send(self.other_socket(port), &reflected, client).await;
                    send(asked, &sent, client).await;
                }
            }
            Answerer::Later(milliseconds) => {
                let promised = Message::AnswerPromised { nonce }.encode();
                let length = promised.len() + reflected.len() * LATE_COPIES as usize;
                if length <= room && self.answer_later(port, &reflected, client, milliseconds) {
                    send(asked, &promised, client).await;
                }
            }
            Answerer::Partner(partner) => {
                let Some(known) = self.partners.get(&partner) else {
                    let no = Message::NoSuchPartner { nonce }.encode();
                    return reply_within(asked, &no, client, room).await;
                };
                // Without a cookie yet: the client asks again.
                let Some(cookie) = known.theirs else { return };
                let forward = Message::Forward {
                    cookie,
                    nonce,
                    client,
                };
                let room_for_answers = room >= crate::wire::REQUEST_BYTES;
                if room_for_answers {
                    send(&self.primary, &forward.encode_padded(), partner).await;
                }
            }
        }
    }

    /// False where too many wait already.
    fn answer_later(
        &self,
        port: Port,
        answer: &[u8],
        client: SocketAddr,
        milliseconds: u32,
    ) -> bool {
        let Ok(place) = Arc::clone(&self.later).try_acquire_owned() else {
            return false;
        };
        let socket = Arc::clone(self.socket(port));
        let answer = answer.to_vec();
        let delay = Duration::from_millis(milliseconds.into()).min(LATEST);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            for _ in 0..LATE_COPIES {
                send(&socket, &answer, client).await;
                tokio::time::sleep(LATE_EVERY).await;
            }
            drop(place);
        });
        true
    }

    /// Answers a partner's client.
    async fn answer_for(
        &self,
        partner: SocketAddr,
        cookie: Nonce,
        nonce: Nonce,
        client: SocketAddr,
    ) {
        let authentic = self
            .partners
            .get(&partner)
            .is_some_and(|known| known.ours == cookie);
        if !authentic {
            debug!("{partner} asked for a datagram to {client} without our cookie");
            return;
        }
        let reflected = Message::Reflected {
            nonce,
            address: client,
        };
        send(&self.primary, &reflected.encode(), client).await;
        let done = Message::Forwarded { nonce, client };
        send(&self.primary, &done.encode(), partner).await;
    }

    fn socket(&self, port: Port) -> &Arc<UdpSocket> {
        match port {
            Port::Primary => &self.primary,
            Port::Alternate => &self.alternate,
        }
    }

    fn other_socket(&self, port: Port) -> &Arc<UdpSocket> {
        match port {
            Port::Primary => &self.alternate,
            Port::Alternate => &self.primary,
        }
    }
}

pub async fn bind_udp(address: SocketAddr) -> Result<UdpSocket, Failure> {
    UdpSocket::bind(address).await.map_err(|error| {
        Failure::new(
            Reason::Infrastructure,
            format!("cannot bind UDP {address}: {error}"),
        )
    })
}

/// Drops an answer that is longer than what asked for it.
async fn reply_within(socket: &UdpSocket, reply: &[u8], to: SocketAddr, room: usize) {
    if reply.len() <= room {
        send(socket, reply, to).await;
    }
}

async fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(datagram, to).await {
        debug!("cannot send to {to}: {error}");
    }
}
