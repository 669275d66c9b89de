//! One attempt: a socket, a peer, a payload.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::exchange::{Exchanger, Settings, Transport};
use agent::load::Incoming;
use model::protocol::{
    ClaimedPath, Dial, Expect, Failure, Finished, ObservedAddress, Prepare, Reason, Rung, Target,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::coordinator::bind_udp;
use crate::punch::Link;
use crate::reflect::{Pace, Question, ask};
use crate::wire::{Answerer, DATAGRAM_BYTES, FRAME_BYTES};

const ASK_EVERY: Duration = Duration::from_millis(200);
/// Coordinators answer within this or not at all.
const ASK_FOR: Duration = Duration::from_secs(2);

const DATAGRAMS: Settings = Settings {
    max_message: DATAGRAM_BYTES - FRAME_BYTES,
    pace: Duration::from_micros(500),
    first_timeout: Duration::from_millis(500),
    least_timeout: Duration::from_millis(100),
};

pub struct Attempt {
    pub link: Arc<Link>,
    pub incoming: Incoming,
    exchanger: Arc<Exchanger>,
    listening: AbortOnDropHandle<()>,
    probing: Mutex<Option<AbortOnDropHandle<()>>>,
}

struct OverLink(Arc<Link>);

impl Transport for OverLink {
    async fn send(&self, message: Vec<u8>) -> Result<(), String> {
        self.0.send_payload(&message).await
    }
}

impl Attempt {
    /// Binds, and learns the outer address from every coordinator.
    pub async fn prepare(call: &Prepare) -> Result<Self, Failure> {
        let socket = bind_udp(call.bind).await?;
        let local = socket
            .local_addr()
            .map_err(|error| Failure::new(Reason::Infrastructure, error.to_string()))?;
        let limit = ASK_FOR.min(Duration::from_millis(call.timeout_ms));
        let questions: Vec<_> = call
            .coordinators
            .iter()
            .map(|to| Question::new(*to, Answerer::Asked))
            .collect();
        let pace = Pace::until(ASK_EVERY, Instant::now() + limit);
        let replies = ask(&socket, &questions, pace).await;
        let observed: Vec<_> = questions
            .iter()
            .zip(replies)
            .filter_map(|(question, reply)| {
                let (by, address) = (question.to, reply.seen?);
                Some(ObservedAddress { by, address })
            })
            .collect();
        if observed.is_empty() && !questions.is_empty() {
            return Err(Failure::new(
                Reason::Timeout,
                format!(
                    "no coordinator of {:?} answered {local} within {limit:?}",
                    call.coordinators
                ),
            ));
        }
        let link = Arc::new(Link::new(socket, local, observed));
        let exchanger = Arc::new(Exchanger::new(
            &call.payload,
            DATAGRAMS,
            OverLink(Arc::clone(&link)),
        )?);
        let listening = spawn({
            let (link, exchanger) = (Arc::clone(&link), Arc::clone(&exchanger));
            async move { link.listen(&exchanger).await }
        });
        Ok(Self {
            link,
            incoming: Incoming::default(),
            exchanger,
            listening,
            probing: Mutex::new(None),
        })
    }

    pub fn peer(&self) -> String {
        self.link.me.clone()
    }

    pub fn local(&self) -> SocketAddr {
        self.link.local
    }

    pub fn observed(&self) -> Vec<ObservedAddress> {
        self.link.observed()
    }

    pub fn exchanger(&self) -> &Exchanger {
        &self.exchanger
    }

    pub fn claimed(&self) -> ClaimedPath {
        self.link.claimed()
    }

    /// Opens our side of the way, and keeps it open through the rung.
    pub fn expect(&self, call: &Expect) {
        self.probe_through_rung(&call.target, call.rung, call.timeout_ms);
    }

    /// Probes until the peer acknowledged one; both directions work then.
    pub async fn dial(&self, call: &Dial) -> Result<SocketAddr, Failure> {
        self.probe_through_rung(&call.target, call.rung, call.timeout_ms);
        let limit = Duration::from_millis(call.timeout_ms);
        tokio::time::timeout(limit, self.link.wait_confirmed())
            .await
            .map_err(|_| {
                let tried = &call.target.addresses;
                Failure::new(
                    Reason::Timeout,
                    format!("no probe to {tried:?} was acknowledged within {limit:?}"),
                )
            })
    }

    fn probe_through_rung(&self, target: &Target, rung: Rung, timeout_ms: u64) {
        self.link.meet(target, rung);
        let link = Arc::clone(&self.link);
        let probing = spawn(async move {
            let limit = Duration::from_millis(timeout_ms);
            // Running out of time is the ordinary end of a rung.
            let _ = tokio::time::timeout(limit, link.keep_probing()).await;
        });
        *self.probing() = Some(probing);
    }

    /// What this side saw; the socket is closed afterwards.
    pub fn finish(&self) -> Finished {
        self.exchanger.stop();
        self.listening.abort();
        *self.probing() = None;
        Finished {
            local: self.link.local,
            observed: self.link.observed(),
            remote: self.link.remote(),
            claimed: self.link.claimed(),
            sent: self.exchanger.sent(),
            received: self.exchanger.received(),
        }
    }

    fn probing(&self) -> std::sync::MutexGuard<'_, Option<AbortOnDropHandle<()>>> {
        self.probing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    let task: JoinHandle<()> = tokio::spawn(work);
    AbortOnDropHandle::new(task)
}
