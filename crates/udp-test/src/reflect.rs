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
    /// The coordinator says that another answerer has sent.
    pub sent: bool,
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
                reply.sent = true;
            }
            Message::NoSuchPartner { nonce } if *nonce == self.nonce && from == self.to => {
                reply.refused = true;
            }
            _ => {}
        }
    }

    fn may_answer(&self, from: SocketAddr) -> bool {
        match self.answerer {
            Answerer::Asked => from == self.to,
            Answerer::OtherPort => from.ip() == self.to.ip() && from.port() != self.to.port(),
            Answerer::Partner(partner) => from == partner,
        }
    }
}

/// Repeats every question until it is answered or the time is over; the
/// replies are in the order of the questions.
pub async fn ask(
    socket: &UdpSocket,
    questions: &[Question],
    every: Duration,
    until: Instant,
) -> Vec<Reply> {
    let mut replies = vec![Reply::default(); questions.len()];
    let mut buffer = [0; 2048];
    let open = |replies: &[Reply]| replies.iter().any(|r| r.seen.is_none());
    while open(&replies) && Instant::now() < until {
        for (question, reply) in questions.iter().zip(&replies) {
            if reply.seen.is_none() {
                let request = Message::Reflect {
                    nonce: question.nonce,
                    answerer: question.answerer,
                };
                // A send that fails is a datagram lost.
                let _ = socket.send_to(&request.encode_padded(), question.to).await;
            }
        }
        let round = (Instant::now() + every).min(until);
        while open(&replies) {
            let Ok(received) = timeout_at(round, socket.recv_from(&mut buffer)).await else {
                break;
            };
            // An ICMP error for one destination says nothing of the others.
            let Ok((length, from)) = received else {
                sleep_until((Instant::now() + Duration::from_millis(1)).min(round)).await;
                continue;
            };
            let Some(message) = Message::decode(&buffer[..length]) else {
                continue;
            };
            for (question, reply) in questions.iter().zip(&mut replies) {
                question.take(&message, from, reply);
            }
        }
    }
    replies
}
