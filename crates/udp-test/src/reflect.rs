//! Asking coordinators for one's own outer address.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::wire::{Answerer, Message, Nonce};

/// One thing to ask of one coordinator.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub to: SocketAddr,
    pub answerer: Answerer,
    nonce: Nonce,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reply {
    /// The outer address that the answerer saw.
    pub seen: Option<SocketAddr>,
    /// How often the coordinator said that another answerer has sent, or will send.
    pub sent: u32,
    /// The coordinator does not work with that partner.
    pub refused: bool,
}

impl Question {
    pub fn new(to: SocketAddr, answerer: Answerer) -> Self {
        Self {
            to,
            answerer,
            nonce: Nonce::random(),
        }
    }

    fn take(&self, message: &Message, from: SocketAddr, reply: &mut Reply) {
        match message {
            Message::Reflected { nonce, address }
                if *nonce == self.nonce && self.may_answer(from) =>
            {
                reply.seen = Some(*address);
            }
            Message::AnswerSent { nonce } if *nonce == self.nonce && from == self.to => {
                reply.sent += 1;
            }
            Message::AnswerPromised { nonce } if *nonce == self.nonce && from == self.to => {
                reply.sent += 1;
            }
            Message::NoSuchPartner { nonce } if *nonce == self.nonce && from == self.to => {
                reply.refused = true;
            }
            _ => {}
        }
    }

    fn may_answer(&self, from: SocketAddr) -> bool {
        match self.answerer {
            Answerer::Asked | Answerer::Later(_) => from == self.to,
            Answerer::OtherPort => from.ip() == self.to.ip() && from.port() != self.to.port(),
            Answerer::Partner(partner) => from == partner,
        }
    }
}

/// How long to go on asking.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub every: Duration,
    pub until: Instant,
    /// So many confirmations that somebody has sent make silence believable.
    pub enough: u32,
    /// How long after them a datagram may still be under way.
    pub grace: Duration,
}

impl Pace {
    /// Until all is answered, or the time is over.
    pub fn until(every: Duration, until: Instant) -> Self {
        Self {
            every,
            until,
            enough: u32::MAX,
            grace: Duration::ZERO,
        }
    }

    fn is_settled(self, reply: &Reply) -> bool {
        reply.seen.is_some() || reply.sent >= self.enough
    }
}

/// Repeats every question until it is answered, silence is believable or the time
/// is over; the replies are in the order of the questions.
pub async fn ask(socket: &UdpSocket, questions: &[Question], pace: Pace) -> Vec<Reply> {
    let mut replies = vec![Reply::default(); questions.len()];
    while replies.iter().any(|r| !pace.is_settled(r)) && Instant::now() < pace.until {
        for (question, reply) in questions.iter().zip(&replies) {
            if !pace.is_settled(reply) {
                let request = Message::Reflect {
                    nonce: question.nonce,
                    answerer: question.answerer,
                };
                // A send that fails is a datagram lost.
                let _ = socket.send_to(&request.encode_padded(), question.to).await;
            }
        }
        let round = (Instant::now() + pace.every).min(pace.until);
        let settled = |replies: &[Reply]| replies.iter().all(|r| pace.is_settled(r));
        listen(socket, questions, &mut replies, round, settled).await;
    }
    let answered = |replies: &[Reply]| replies.iter().all(|r| r.seen.is_some());
    let end = Instant::now() + pace.grace;
    listen(socket, questions, &mut replies, end, answered).await;
    replies
}

/// Takes what comes, until that is enough or the time is over.
async fn listen(
    socket: &UdpSocket,
    questions: &[Question],
    replies: &mut [Reply],
    until: Instant,
    is_enough: impl Fn(&[Reply]) -> bool,
) {
    let mut buffer = [0; 2048];
    while !is_enough(replies) {
        let Ok(received) = timeout_at(until, socket.recv_from(&mut buffer)).await else {
            return;
        };
        // An ICMP error for one destination says nothing of the others.
        let Ok((length, from)) = received else {
            sleep_until((Instant::now() + Duration::from_millis(1)).min(until)).await;
            continue;
        };
        let Some(message) = Message::decode(&buffer[..length]) else {
            continue;
        };
        for (question, reply) in questions.iter().zip(replies.iter_mut()) {
            question.take(&message, from, reply);
        }
    }
}
