//! Why an attempt failed, from what was counted, measured and reported.
//!
//! Pure: evidence in, a sentence out. Where the evidence does not tell, the
//! sentence says what is known and no more. `docs/explanations.md` has the
//! catalogue; a test produces each cause on real hosts.

mod contact;
mod service;
mod traffic;

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Counted, Outcome};
use crate::flow::FlowCount;
use crate::inventory::NodeName;
use crate::nat::theory::Prediction;
use crate::nat::{Filtering, Mapping};
use crate::protocol::Rung;

use traffic::Traffic;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    pub cause: Cause,
    /// With addresses and ports.
    pub sentence: String,
    /// The flows that it rests on: packets that left and that arrived, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<String>,
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A tester stopped answering the engine.
    TesterSilent,
    /// Nothing left a host, or what came back to it did not get in.
    UdpBlocked,
    /// It got packets and sent none back.
    CoordinatorSilent,
    /// Packets left and did not arrive.
    LostOnTheWay,
    /// One side never sent to the other.
    NeverSent,
    /// One side sent to an address that nobody has.
    WrongAddress,
    /// One side began when the other had given up.
    TooLate,
    /// A NAT that keeps one port changed it.
    MappingMoved,
    /// A NAT that gives each destination a port of its own, and a NAT that lets
    /// in only what was sent to.
    PortNotPredicted,
    /// A NAT let nothing in that had not been sent to.
    Filtered,
    /// Packets arrived at a public host and it answered none.
    Unanswered,
    /// Packets went both ways and the stack made no connection of them.
    NoHandshake,
    /// Nobody offered a relay where only a relay would do.
    NoRelay,
    /// A relay was granted and forwarded nothing.
    RelayIdle,
    /// A relay carried the payload where a path exists.
    RelayedInstead,
    /// Connected, and then the payload stopped.
    PayloadStalled,
    /// The payload came and was not what was sent.
    Corrupt,
    /// The evidence does not tell.
    Unexplained,
}

/// What is known of an attempt besides its own record.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    pub caller: Side,
    pub callee: Side,
    pub coordinators: &'a [SocketAddr],
    /// `None` where nobody counted.
    pub flows: Option<&'a [FlowCount]>,
    /// Offsets are counted from here.
    pub began: Timestamp,
    pub payload_bytes: u64,
}

/// One end of an attempt.
#[derive(Debug, Clone)]
pub struct Side {
    pub node: NodeName,
    pub public: bool,
    pub bind: SocketAddr,
    /// Of its host, outside of any NAT.
    pub outer: Vec<IpAddr>,
    /// Its outer endpoints as coordinators told them before the first rung.
    pub told: Vec<SocketAddr>,
    pub mapping: Option<Mapping>,
    pub filtering: Option<Filtering>,
    /// `prepare` succeeded.
    pub prepared: bool,
    /// Why its tester said nothing at the end.
    pub silent: Option<String>,
}

impl Side {
    /// Where the other side is told to find it.
    fn mapped(&self) -> SocketAddr {
        if self.public {
            self.bind
        } else {
            self.told.first().copied().unwrap_or(self.bind)
        }
    }

    /// What stands before it. Nobody translates IPv6.
    fn front(&self) -> &'static str {
        if self.bind.is_ipv6() {
            "firewall"
        } else {
            "NAT"
        }
    }

    fn kind(&self) -> String {
        match (self.mapping, self.filtering) {
            (Some(mapping), Some(filtering)) => {
                crate::nat::Behaviour { mapping, filtering }.to_string()
            }
            _ => "not measured".into(),
        }
    }
}

/// A cause with its sentence, before the flows are added.
type Found = (Cause, String);

/// `None` for an attempt that succeeded, or from which nothing was learnt.
pub fn explain(attempt: &Attempt, evidence: &Evidence<'_>) -> Option<Explanation> {
    if attempt.verdict() != Counted::Failure {
        return None;
    }
    let case = Case {
        attempt,
        evidence,
        traffic: evidence
            .flows
            .map(|flows| Traffic::new(flows, evidence.began)),
    };
    let (cause, sentence) = case.find();
    let seen = case.traffic.as_ref().map(Traffic::lines);
    Some(Explanation {
        cause,
        sentence,
        seen: seen.unwrap_or_default(),
    })
}

struct Case<'a> {
    attempt: &'a Attempt,
    evidence: &'a Evidence<'a>,
    traffic: Option<Traffic<'a>>,
}

impl Case<'_> {
    fn find(&self) -> Found {
        let found = self
            .tester_silent()
            .or_else(|| self.unprepared())
            .or_else(|| self.relayed_instead())
            .or_else(|| self.after_connecting())
            .or_else(|| self.without_connection());
        found.unwrap_or_else(|| self.unexplained())
    }

    /// Where only a relay would do, what became of the relay says more.
    fn without_connection(&self) -> Option<Found> {
        if self.attempt.start.cell.predicted == Prediction::Never {
            self.relay()
                .or_else(|| self.no_relay())
                .or_else(|| self.contact())
        } else {
            self.contact().or_else(|| self.relay())
        }
    }

    fn relayed_instead(&self) -> Option<Found> {
        if self.attempt.outcome != Outcome::Success {
            return None;
        }
        let via = self
            .attempt
            .observed
            .via
            .map_or("a relay".to_owned(), |via| format!("the relay {via}"));
        let why = match self.contact() {
            Some((_, sentence)) => sentence,
            None if self.traffic.is_some() => "what was counted does not say why".into(),
            None => "nobody counted packets".into(),
        };
        let cell = &self.attempt.start.cell;
        let sentence = format!(
            "{via} carried the payload where theory says {} for a path without one: {why}",
            cell.predicted
        );
        Some((Cause::RelayedInstead, sentence))
    }

    fn unexplained(&self) -> Found {
        let said = match &self.attempt.outcome {
            Outcome::StackFailure(failure) => failure.to_string(),
            Outcome::Infrastructure { detail } => detail.clone(),
            Outcome::Success => "connected".into(),
        };
        let counted = match &self.traffic {
            None => "nobody counted packets".to_owned(),
            Some(_) => {
                let (caller, callee) = (&self.evidence.caller, &self.evidence.callee);
                format!(
                    "{}; {}",
                    self.amount(caller, callee),
                    self.amount(callee, caller)
                )
            }
        };
        (
            Cause::Unexplained,
            format!("not explained: {counted}; the tester said: {said}"),
        )
    }

    /// `12 packets left a for b and 10 arrived`
    fn amount(&self, from: &Side, to: &Side) -> String {
        let way = self.way(from, to);
        let arrived = match way.arrived.packets {
            _ if way.left.packets == 0 => String::new(),
            n if way.is_counted_at_the_end => format!(" and {n} arrived"),
            _ => String::new(),
        };
        format!(
            "{} packets left {} for {}{arrived}",
            way.left.packets, from.node, to.node
        )
    }

    /// The sides as they dial on a rung: who dials, who is dialled.
    fn dialler(&self, rung: Rung) -> (&Side, &Side) {
        let (caller, callee) = (&self.evidence.caller, &self.evidence.callee);
        match rung {
            Rung::Reverse => (callee, caller),
            Rung::Direct | Rung::Punched | Rung::Relayed => (caller, callee),
        }
    }

    fn sides(&self) -> [(&Side, &Side); 2] {
        let (caller, callee) = (&self.evidence.caller, &self.evidence.callee);
        [(caller, callee), (callee, caller)]
    }
}
