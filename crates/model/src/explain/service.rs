//! What others did not do: testers, coordinators, relays; and what happened to
//! the payload.

use std::net::SocketAddr;

use super::traffic::Way;
use super::{Case, Cause, Found, Side};
use crate::attempt::{Outcome, RungRecord};
use crate::protocol::{Reason, Rung};

impl Case<'_> {
    pub(super) fn tester_silent(&self) -> Option<Found> {
        let (side, other) = self
            .sides()
            .into_iter()
            .find(|(side, _)| side.silent.is_some())?;
        let said = side.silent.as_deref().unwrap_or_default();
        let way = self.way(side, other);
        let sent = match (self.traffic.is_some(), way.left.packets) {
            (false, _) => "nobody counted packets".to_owned(),
            (true, 0) => format!("it sent nothing to {}", other.node),
            (true, n) => format!(
                "it sent {n} packets to {}, the last at {}",
                other.node,
                self.at(way.left.last)
            ),
        };
        Some((Cause::TesterSilent, format!("{said}; {sent}")))
    }

    /// A side that did not come as far as the first rung.
    pub(super) fn unprepared(&self) -> Option<Found> {
        self.traffic.as_ref()?;
        let (side, _) = self.sides().into_iter().find(|(side, _)| !side.prepared)?;
        let coordinators = self.evidence.coordinators;
        let is_own = |end: SocketAddr| side.outer.contains(&end.ip());
        let there = self.sum(|source, to| is_own(source) && coordinators.contains(&to));
        let back = self.sum(|from, to| coordinators.contains(&from) && is_own(to));
        let node = &side.node;
        if there.left.packets == 0 {
            let asked = list(coordinators);
            // A box was measured with datagrams that got out of it and back.
            return Some(if side.mapping.is_some() {
                let sentence = format!(
                    "nothing of {node}'s tester left it for {asked}, where plain UDP gets out and back"
                );
                (Cause::NeverSent, sentence)
            } else {
                let sentence = format!("UDP blocked at {node}: nothing left it for {asked}");
                (Cause::UdpBlocked, sentence)
            });
        }
        let own = list(&there.sources);
        let asked = list(&there.destinations);
        if there.is_lost() {
            return Some(lost(
                node.as_str(),
                &there,
                &format!("the coordinators {asked}"),
            ));
        }
        if back.left.packets == 0 {
            let sentence = format!(
                "{asked} got {} packets of {node}'s {own} and sent none back",
                there.left.packets
            );
            return Some((Cause::CoordinatorSilent, sentence));
        }
        if back.is_lost() {
            return Some(lost("the coordinators", &back, node.as_str()));
        }
        let sentence = format!(
            "UDP blocked at {node}: {} answers arrived at its {own}, and its tester got none",
            back.arrived.packets
        );
        Some((Cause::UdpBlocked, sentence))
    }

    pub(super) fn after_connecting(&self) -> Option<Found> {
        let Outcome::StackFailure(failure) = &self.attempt.outcome else {
            return None;
        };
        let won = self.attempt.rungs.iter().find(|r| r.failure.is_none())?;
        if failure.reason == Reason::Corrupt {
            let sentence = format!("connected ({}), and then {}", rung(won), failure.detail);
            return Some((Cause::Corrupt, sentence));
        }
        if let Some(idle) = self.relay() {
            return Some(idle);
        }
        let (caller, callee) = (&self.evidence.caller, &self.evidence.callee);
        let counted = if self.traffic.is_some() {
            let (forth, back) = (self.way(caller, callee), self.way(callee, caller));
            let all = self.evidence.payload_bytes;
            // Between the two there is nothing to count where a relay is in between.
            let came = |way: &Way, through_relay: u64| match won.rung {
                Rung::Relayed | Rung::Reverse => through_relay,
                Rung::Direct | Rung::Punched => way.arrived.bytes,
            };
            format!(
                "of {all} bytes each way {} arrived at {} and {} at {}; the last packets left at {} and {}",
                came(&forth, self.attempt.observed.forth_bytes),
                callee.node,
                came(&back, self.attempt.observed.back_bytes),
                caller.node,
                self.at(forth.left.last),
                self.at(back.left.last)
            )
        } else {
            "nobody counted packets".into()
        };
        let sentence = format!(
            "connected ({}), and then the payload stopped: {counted}; {failure}",
            rung(won)
        );
        Some((Cause::PayloadStalled, sentence))
    }

    /// What became of a relay that was announced and dialled.
    pub(super) fn relay(&self) -> Option<Found> {
        self.traffic.as_ref()?;
        let dialled = self.attempt.rungs.iter().filter(|r| is_relay(r.rung));
        dialled
            .flat_map(|record| record.dialled.iter().map(|relay| (record.rung, *relay)))
            .find_map(|(rung, relay)| self.one_relay(rung, relay))
    }

    fn one_relay(&self, rung: Rung, relay: SocketAddr) -> Option<Found> {
        let (dialler, called) = self.dialler(rung);
        let is_at = |side: &Side, end: SocketAddr| side.outer.contains(&end.ip());
        let there = self.sum(|from, to| is_at(dialler, from) && to == relay);
        let (one, other) = (&dialler.node, &called.node);
        if there.left.packets == 0 {
            let sentence = format!("{one} never sent to the relay {relay} that {other} announced");
            return Some((Cause::NeverSent, sentence));
        }
        if there.is_lost() {
            return Some(lost(one.as_str(), &there, &format!("the relay {relay}")));
        }
        let on = self.sum(|from, to| from.ip() == relay.ip() && is_at(called, to));
        let since = there.left.first;
        if on.left.packets > 0 && on.left.last >= since {
            return None;
        }
        let sentence = format!(
            "relay {relay} granted, no bytes forwarded: {one} sent it {} packets with {} bytes from {} on, and nothing went on to {other}",
            there.left.packets,
            there.left.bytes,
            self.at(since)
        );
        Some((Cause::RelayIdle, sentence))
    }

    pub(super) fn no_relay(&self) -> Option<Found> {
        let refused: Vec<String> = self
            .attempt
            .rungs
            .iter()
            .filter(|r| is_relay(r.rung) && r.dialled.is_empty())
            .filter_map(|r| {
                let failure = r.failure.as_ref()?;
                Some(format!(
                    "{}: {}",
                    self.dialler(r.rung).1.node,
                    failure.detail
                ))
            })
            .collect();
        if refused.is_empty() {
            return None;
        }
        let (caller, callee) = (&self.evidence.caller, &self.evidence.callee);
        let sentence = format!(
            "no path without a relay ({} is {}, {} is {}), and none was offered: {}",
            caller.node,
            caller.kind(),
            callee.node,
            callee.kind(),
            refused.join("; ")
        );
        Some((Cause::NoRelay, sentence))
    }
}

fn is_relay(rung: Rung) -> bool {
    matches!(rung, Rung::Relayed | Rung::Reverse)
}

fn rung(record: &RungRecord) -> String {
    format!("{:?} after {:.0} ms", record.rung, record.elapsed_ms).to_lowercase()
}

pub(super) fn lost(from: &str, way: &Way, to: &str) -> Found {
    let (left, arrived) = (way.left.packets, way.arrived.packets);
    let how_many = if arrived == 0 {
        format!("none of {left}")
    } else {
        format!("only {arrived} of {left}")
    };
    let sentence = format!(
        "{how_many} packets from {from}'s {} to {to} arrived at {}",
        list(&way.sources),
        list(&way.destinations)
    );
    (Cause::LostOnTheWay, sentence)
}

pub(super) fn list<'a>(ends: impl IntoIterator<Item = &'a SocketAddr>) -> String {
    let all: Vec<String> = ends.into_iter().map(ToString::to_string).collect();
    match all.len() {
        0..=3 => all.join(", "),
        n => format!("{} and {} more", all[..2].join(", "), n - 2),
    }
}
