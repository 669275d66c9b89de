//! Two sides that should have reached each other, and what their packets did.

use std::net::SocketAddr;

use super::service::{list, lost};
use super::traffic::Way;
use super::{Case, Cause, Found, Side};
use crate::nat::{Filtering, Mapping};
use crate::protocol::Rung;

impl Case<'_> {
    /// Looks at the packets between the two, the plainest causes first.
    pub(super) fn contact(&self) -> Option<Found> {
        self.traffic.as_ref()?;
        let rungs = &self.attempt.rungs;
        let punched = rungs.iter().any(|r| r.rung == Rung::Punched);
        if !punched && !rungs.iter().any(|r| r.rung == Rung::Direct) {
            return None;
        }
        let each = |look: &dyn Fn(&Side, &Side) -> Option<Found>| {
            self.sides().into_iter().find_map(|(x, y)| look(x, y))
        };
        each(&|x, y| self.wrong_address(x, y))
            .or_else(|| each(&|x, y| self.all_lost(x, y)))
            .or_else(|| self.silence(punched))
            .or_else(|| each(&|x, y| self.too_late(x, y)))
            .or_else(|| each(&|x, y| self.mapping_moved(x, y)))
            .or_else(|| each(&|x, y| self.port_not_predicted(x, y)))
            .or_else(|| each(&|x, y| self.filtered(x, y)))
            .or_else(|| each(&|x, y| self.mostly_lost(x, y)))
            .or_else(|| self.no_handshake())
    }

    fn wrong_address(&self, x: &Side, y: &Side) -> Option<Found> {
        if y.public || y.outer.contains(&y.bind.ip()) {
            return None;
        }
        let astray = self.sum(|from, to| x.outer.contains(&from.ip()) && to == y.bind);
        if astray.left.packets == 0 || self.way(x, y).left.packets > 0 {
            return None;
        }
        let sentence = format!(
            "{} sent {} packets to {}, {}'s inner address, and none to its mapped port {}",
            x.node,
            astray.left.packets,
            y.bind,
            y.node,
            y.mapped()
        );
        Some((Cause::WrongAddress, sentence))
    }

    fn all_lost(&self, x: &Side, y: &Side) -> Option<Found> {
        let way = self.way(x, y);
        way.is_lost()
            .then(|| lost(x.node.as_str(), &way, y.node.as_str()))
    }

    fn mostly_lost(&self, x: &Side, y: &Side) -> Option<Found> {
        let way = self.way(x, y);
        let most = way.is_counted_at_the_end && way.arrived.packets * 2 < way.left.packets;
        most.then(|| lost(x.node.as_str(), &way, y.node.as_str()))
    }

    /// A side that should have sent and did not.
    fn silence(&self, punched: bool) -> Option<Found> {
        let (caller, callee) = (&self.evidence.caller, &self.evidence.callee);
        let (forth, back) = (self.way(caller, callee), self.way(callee, caller));
        if forth.left.packets == 0 {
            return Some(never_sent(caller, callee));
        }
        if back.left.packets > 0 {
            return None;
        }
        if callee.public {
            let sentence = format!(
                "{} packets from {}'s {} arrived at {}'s {}, and it answered none",
                forth.arrived.packets,
                caller.node,
                list(&forth.sources),
                callee.node,
                list(&forth.destinations)
            );
            return Some((Cause::Unanswered, sentence));
        }
        punched.then(|| never_sent(callee, caller))
    }

    fn too_late(&self, x: &Side, y: &Side) -> Option<Found> {
        let (from_x, from_y) = (self.way(x, y), self.way(y, x));
        let (began, gave_up) = (from_x.left.first?, from_y.left.last?);
        if began <= gave_up {
            return None;
        }
        let sentence = format!(
            "all probes from {} left after {} gave up: {}'s first at {}, {}'s last at {}",
            x.node,
            y.node,
            x.node,
            self.at(Some(began)),
            y.node,
            self.at(Some(gave_up))
        );
        Some((Cause::TooLate, sentence))
    }

    /// `y`'s packets to `x` came from a port that nobody had told.
    fn moved(&self, x: &Side, y: &Side) -> Option<(SocketAddr, SocketAddr)> {
        let told = *y.told.first().filter(|_| !y.public)?;
        let sources = self.way(y, x).sources;
        if sources.iter().any(|source| y.told.contains(source)) {
            return None;
        }
        Some((told, *sources.first()?))
    }

    fn mapping_moved(&self, x: &Side, y: &Side) -> Option<Found> {
        let (told, now) = self.moved(x, y)?;
        if y.mapping != Some(Mapping::Eim) {
            return None;
        }
        let probes = self.sum(|from, to| x.outer.contains(&from.ip()) && to == told);
        let moved = self.sum(|from, to| from == now && x.outer.contains(&to.ip()));
        let was_first = probes.left.packets > 0
            && first(
                &probes.arrived.first.or(probes.left.first),
                &moved.left.first,
            );
        let after = if was_first {
            format!(" after {}'s first probe", x.node)
        } else {
            format!(", though its NAT was measured as {}", y.kind())
        };
        let sentence = format!(
            "{}'s mapping to {} moved from {} to {}{after}",
            y.node,
            x.node,
            told.port(),
            now.port()
        );
        Some((Cause::MappingMoved, sentence))
    }

    fn port_not_predicted(&self, x: &Side, y: &Side) -> Option<Found> {
        let (told, now) = self.moved(x, y)?;
        if y.mapping == Some(Mapping::Eim) || x.public {
            return None;
        }
        let sent = self.way(x, y);
        if sent.destinations.contains(&now) {
            return None;
        }
        let sentence = format!(
            "{}'s NAT ({}) gives each destination its own port: {} was told {}, packets came from {}, and {}'s NAT ({}) lets in only what was sent to; nothing was sent to port {}",
            y.node,
            y.kind(),
            x.node,
            told,
            now,
            x.node,
            x.kind(),
            now.port()
        );
        Some((Cause::PortNotPredicted, sentence))
    }

    /// `x`'s packets arrived at `y`'s NAT, which had not sent there.
    fn filtered(&self, x: &Side, y: &Side) -> Option<Found> {
        if y.public || y.filtering != Some(Filtering::Apdf) {
            return None;
        }
        let (sent, opened) = (self.way(x, y), self.way(y, x).destinations);
        if sent.arrived.packets == 0 || sent.sources.iter().any(|s| opened.contains(s)) {
            return None;
        }
        let sentence = format!(
            "{} packets from {} arrived at {}'s {} ({}), which lets in only what was sent to; {} sent to {} alone",
            sent.arrived.packets,
            list(&sent.sources),
            y.node,
            y.front(),
            y.kind(),
            y.node,
            list(&opened)
        );
        Some((Cause::Filtered, sentence))
    }

    fn no_handshake(&self) -> Option<Found> {
        let (caller, callee) = (&self.evidence.caller, &self.evidence.callee);
        let (forth, back) = (self.way(caller, callee), self.way(callee, caller));
        let went = |way: &Way| way.arrived.packets > 0;
        if !went(&forth) || !went(&back) {
            return None;
        }
        let sentence = format!(
            "packets went both ways from {} on ({} from {}'s {}, {} from {}'s {}), and the stack made no connection of them",
            self.at(forth.arrived.first.max(back.arrived.first)),
            forth.arrived.packets,
            caller.node,
            list(&forth.sources),
            back.arrived.packets,
            callee.node,
            list(&back.sources)
        );
        Some((Cause::NoHandshake, sentence))
    }
}

fn never_sent(x: &Side, y: &Side) -> Found {
    let what = if y.public { "address" } else { "mapped port" };
    let sentence = format!(
        "{} never sent to {}'s {what} {}",
        x.node,
        y.node,
        y.mapped()
    );
    (Cause::NeverSent, sentence)
}

fn first<T: PartialOrd>(one: &Option<T>, other: &Option<T>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one <= other)
}
