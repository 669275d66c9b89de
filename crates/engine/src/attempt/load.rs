//! A connection that is loaded in place of an exchange: as much as goes through, one
//! transfer after the other.

use std::net::SocketAddr;
use std::time::Duration;

use model::attempt::{Observed, Outcome, Pair};
use model::load::{Arrived, Over, RECEIVE, RECEIVED, Receive, SEND, Send, Sent};
use model::protocol::{AttemptId, Call, Finished, Perform, Performed, Prepared, Reason, Rung};
use model::suite::THROUGHPUT;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Climb, End, Ends, Seeds, Terms, random_seed};
use crate::agent::AgentError;
use crate::deployment::in_family;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The caller, to the callee.
    Up,
    Down,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// One transfer to make.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub direction: Direction,
    pub streams: u16,
    pub seconds: u64,
    /// Past the stack, to the callee's own port. For plain testers and public callees.
    pub over_tcp: bool,
    /// For what is under way when the sender stops, and for the words around it.
    pub patience: Duration,
}

/// One that was made.
#[derive(Debug)]
pub struct Transfer {
    pub order: Order,
    pub sent: Sent,
    pub arrived: Arrived,
    /// Every byte of every stream, by their digests.
    pub is_whole: bool,
}

pub struct Loaded {
    /// Of the exchange that comes first, as for any attempt.
    pub outcome: Outcome,
    /// Which way the bytes took, all transfers together.
    pub observed: Observed,
    /// What each order came to, in their sequence, up to the first that failed.
    pub transfers: Vec<Result<Transfer, AgentError>>,
}

/// A connection by one of some rungs, and what goes over it after its exchange.
pub struct Loading<'a> {
    pub terms: &'a Terms,
    pub id: AttemptId,
    pub pair: &'a Pair,
    pub caller: End,
    pub callee: End,
    pub rungs: &'a [Rung],
    pub orders: &'a [Order],
}

impl Loading<'_> {
    /// `between` the exchange and the first transfer anything may happen; where it
    /// fails, nothing was learnt.
    ///
    /// # Errors
    /// No connection came about.
    pub async fn run(
        self,
        between: impl Future<Output = Result<(), String>>,
    ) -> Result<Loaded, AgentError> {
        let ends = Ends {
            id: self.id,
            terms: self.terms,
            caller: self.caller,
            callee: self.callee,
            seeds: Seeds {
                caller: random_seed(),
                callee: random_seed(),
            },
            rungs: self.rungs,
            coordinators: in_family(&self.terms.coordinators, self.pair.family),
        };
        let mut climb = Climb::default();
        let exchanged = ends.climb_and_exchange(&mut climb).await;
        let mut transfers = Vec::new();
        let mut hindered = None;
        if exchanged.is_ok() {
            match between.await {
                Ok(()) => transfers = ends.transfers(self.orders, climb.callee.as_ref()).await,
                Err(detail) => hindered = Some(Outcome::Infrastructure { detail }),
            }
        }
        let (caller, callee) = tokio::join!(ends.finish(&ends.caller), ends.finish(&ends.callee));
        let (caller, callee): (Option<Finished>, Option<Finished>) = (caller.ok(), callee.ok());
        let exchanged = exchanged?;
        let compared = ends.compare(&climb, &exchanged, caller.as_ref(), callee.as_ref());
        let endpoints = ends.endpoints(&climb, caller.as_ref(), callee.as_ref());
        let went = self.terms.payload_bytes.max(carried(&transfers));
        let account = ends.account(self.pair, &endpoints, went).await;
        let contradicted = account
            .contradiction
            .map(|detail| Outcome::Infrastructure { detail });
        Ok(Loaded {
            outcome: hindered.or(contradicted).unwrap_or(compared),
            observed: account.observed,
            transfers,
        })
    }
}

/// What went the way with less, so that a path that had it both ways had it all.
fn carried(transfers: &[Result<Transfer, AgentError>]) -> u64 {
    let of = |direction| {
        let ours = transfers.iter().flatten();
        ours.filter(|t| t.order.direction == direction && !t.order.over_tcp)
            .map(|t| t.arrived.bytes())
            .sum::<u64>()
    };
    of(Direction::Up).min(of(Direction::Down))
}

impl Ends<'_> {
    async fn transfers(
        &self,
        orders: &[Order],
        callee: Option<&Prepared>,
    ) -> Vec<Result<Transfer, AgentError>> {
        let mut all = Vec::new();
        for order in orders {
            let made = self.transfer(*order, callee).await;
            let is_lost = made.is_err();
            all.push(made);
            // Most likely there is no connection any more.
            if is_lost {
                break;
            }
        }
        all
    }

    async fn transfer(
        &self,
        order: Order,
        callee: Option<&Prepared>,
    ) -> Result<Transfer, AgentError> {
        let (sender, receiver) = match order.direction {
            Direction::Up => (&self.caller, &self.callee),
            Direction::Down => (&self.callee, &self.caller),
        };
        let over = |is_caller: bool| match order.over_tcp {
            false => Over::Connection,
            true => Over::Tcp(callee.map(|p| p.local).filter(|_| is_caller)),
        };
        let is_up = order.direction == Direction::Up;
        let receive = Receive {
            streams: order.streams,
            over: over(!is_up),
        };
        let send = Send {
            seeds: (0..order.streams).map(|_| random_seed()).collect(),
            seconds: order.seconds,
            over: over(is_up),
        };
        let limit = Duration::from_secs(order.seconds) + order.patience;
        let _: serde_json::Value = self
            .step(receiver, RECEIVE, &receive, order.patience)
            .await?;
        let sent: Sent = self.step(sender, SEND, &send, limit).await?;
        let arrived: Arrived = self.step(receiver, RECEIVED, &(), order.patience).await?;
        let is_whole = arrived.is_what_was_sent(&send.seeds);
        Ok(Transfer {
            order,
            sent,
            arrived,
            is_whole,
        })
    }

    async fn step<T: DeserializeOwned>(
        &self,
        end: &End,
        step: &str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<T, AgentError> {
        let call = Call::Perform(Perform {
            session: self.id.clone(),
            suite: THROUGHPUT.to_owned(),
            step: step.to_owned(),
            node: end.agent.node.to_string(),
            cut_off: Vec::new(),
            absent: Vec::new(),
            bind: None::<SocketAddr>,
            coordinators: self.coordinators.clone(),
            fellows: Vec::new(),
            params: serde_json::to_value(params).unwrap_or_default(),
            timeout_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        });
        let performed: Performed = end.agent.call(call, limit).await?;
        serde_json::from_value(performed.said).map_err(|error| AgentError::Failed {
            node: end.agent.node.clone(),
            method: "perform",
            failure: model::protocol::Failure::new(
                Reason::BadRequest,
                format!("what was said after `{step}` cannot be read: {error}"),
            ),
        })
    }
}
