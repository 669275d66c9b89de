//! Flows, added up by who sent to whom.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use jiff::Timestamp;

use super::{Case, Side};
use crate::flow::{FlowCount, Tally};

/// How many flows are shown.
const SHOWN: usize = 12;

pub(super) struct Traffic<'a> {
    pub flows: &'a [FlowCount],
    began: Timestamp,
}

/// One direction, all flows of it together.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub left: Tally,
    pub arrived: Tally,
    /// Somebody counts where it arrives: zero is zero.
    pub is_counted_at_the_end: bool,
    pub sources: BTreeSet<SocketAddr>,
    pub destinations: BTreeSet<SocketAddr>,
}

impl Way {
    fn add(&mut self, flow: &FlowCount) {
        self.sources.insert(flow.flow.source);
        self.destinations.insert(flow.flow.destination);
        self.is_counted_at_the_end |= flow.arrived.is_some();
        // Where nobody counts at the beginning, what arrived has left.
        join(&mut self.left, flow.left.or(flow.arrived));
        join(&mut self.arrived, flow.arrived);
    }

    /// Something left, somebody looked, and nothing came.
    pub fn is_lost(&self) -> bool {
        self.left.packets > 0 && self.is_counted_at_the_end && self.arrived.packets == 0
    }
}

fn join(sum: &mut Tally, more: Option<Tally>) {
    let Some(more) = more.filter(|more| more.packets > 0) else {
        return;
    };
    sum.packets += more.packets;
    sum.bytes += more.bytes;
    sum.first = [sum.first, more.first].into_iter().flatten().min();
    sum.last = sum.last.max(more.last);
}

impl<'a> Traffic<'a> {
    pub fn new(flows: &'a [FlowCount], began: Timestamp) -> Self {
        Self { flows, began }
    }

    pub fn way(&self, belongs: impl Fn(SocketAddr, SocketAddr) -> bool) -> Way {
        let mut way = Way::default();
        let ours = |f: &&FlowCount| belongs(f.flow.source, f.flow.destination);
        for flow in self.flows.iter().filter(ours) {
            way.add(flow);
        }
        way
    }

    /// `+0.035 s`
    pub fn at(&self, time: Option<Timestamp>) -> String {
        time.map_or_else(
            || "at an unknown time".into(),
            |time| format!("{:+.3} s", time.duration_since(self.began).as_secs_f64()),
        )
    }

    /// Every flow in a line, the first to begin first.
    pub fn lines(&self) -> Vec<String> {
        let begins = |f: &FlowCount| {
            f.left
                .and_then(|l| l.first)
                .or(f.arrived.and_then(|a| a.first))
        };
        let mut flows: Vec<&FlowCount> = self.flows.iter().collect();
        flows.sort_by_key(|f| (begins(f), f.flow));
        let mut lines: Vec<String> = flows.iter().take(SHOWN).map(|f| self.line(f)).collect();
        if flows.len() > SHOWN {
            lines.push(format!("and {} more flows", flows.len() - SHOWN));
        }
        lines
    }

    fn line(&self, flow: &FlowCount) -> String {
        let count = |tally: Option<Tally>, what: &str| match tally {
            None => format!("not counted where it {what}"),
            Some(tally) => format!("{} {what}", tally.packets),
        };
        let tally = flow.left.or(flow.arrived).unwrap_or_default();
        format!(
            "{} → {}: {}, {}, {} to {}",
            flow.flow.source,
            flow.flow.destination,
            count(flow.left, "left"),
            count(flow.arrived, "arrived"),
            self.at(tally.first),
            self.at(tally.last)
        )
    }
}

impl Case<'_> {
    /// From one side's host to the other's. A host may keep a coordinator too:
    /// what that says is no contact of the two.
    pub(super) fn way(&self, from: &Side, to: &Side) -> Way {
        let coordinators = self.evidence.coordinators;
        self.sum(|source, destination| {
            from.outer.contains(&source.ip())
                && to.outer.contains(&destination.ip())
                && !coordinators.contains(&source)
                && !coordinators.contains(&destination)
        })
    }

    pub(super) fn sum(&self, belongs: impl Fn(SocketAddr, SocketAddr) -> bool) -> Way {
        self.traffic
            .as_ref()
            .map(|traffic| traffic.way(belongs))
            .unwrap_or_default()
    }

    pub(super) fn at(&self, time: Option<Timestamp>) -> String {
        self.traffic
            .as_ref()
            .map_or(String::new(), |traffic| traffic.at(time))
    }
}
