//! Which pairs of NATs can be traversed at all, computed rather than typed in.
//!
//! Two peers know each other's outer address as a coordinator saw it. Both send
//! to it, and both answer to whatever address a packet came from. All orders in
//! which packets may leave and arrive are searched. A NAT has session affinity,
//! as conntrack and most real NATs have: a reply leaves by the mapping that its
//! flow came in on.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{LazyLock, Mutex};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Behaviour, Filtering, Inbound, Mapping};

/// Whether packets of two peers can find a path without a relay.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// In no order of packets.
    Never,
    /// It depends on whose packet comes first.
    Sometimes,
    /// In every order of packets.
    Always,
}

impl std::fmt::Display for Prediction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Never => "never",
            Self::Sometimes => "sometimes",
            Self::Always => "always",
        })
    }
}

/// What an ordered pair is judged as, fixed before any attempt.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// The callee is public.
    Direct,
    /// The callee is behind a NAT, and a path exists.
    NatTraversed,
    /// No path exists but through a third party.
    Relay,
}

impl Category {
    pub const ALL: [Self; 3] = [Self::Direct, Self::NatTraversed, Self::Relay];
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::NatTraversed => "nat_traversed",
            Self::Relay => "relay",
        })
    }
}

/// What stands between a peer and the internet, as far as UDP is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    Public,
    Nat {
        behaviour: Behaviour,
        inbound: Inbound,
    },
    /// Nothing passes, neither out nor in.
    NoUdp,
}

/// `None` is public.
impl From<Option<Behaviour>> for End {
    fn from(nat: Option<Behaviour>) -> Self {
        nat.map_or(Self::Public, |behaviour| Self::Nat {
            behaviour,
            inbound: Inbound::Dropped,
        })
    }
}

pub fn category(caller: impl Into<End>, callee: impl Into<End>) -> Category {
    let (caller, callee) = (caller.into(), callee.into());
    match (predict(caller, callee), callee) {
        (Prediction::Never, _) => Category::Relay,
        (_, End::Public) => Category::Direct,
        _ => Category::NatTraversed,
    }
}

pub fn predict(a: impl Into<End>, b: impl Into<End>) -> Prediction {
    type Known = HashMap<(End, End), Prediction>;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let (a, b) = (a.into(), b.into());
    let mut known = KNOWN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    *known
        .entry((a.min(b), a.max(b)))
        .or_insert_with(|| search(World::at_start([a, b])))
}

/// The same, where the first packet of `first` has arrived before `second` sends
/// anything.
pub fn predict_if_first(first: impl Into<End>, second: impl Into<End>) -> Prediction {
    search(World::at_start([first.into(), second.into()]).after_first_packet())
}

/// Whose endpoint it is, and which of that host's outer ports. Port 0 is the
/// only one of the coordinator and of a public end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Endpoint {
    host: Host,
    port: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Coordinator,
    Peer(usize),
}

const COORDINATOR: Endpoint = Endpoint {
    host: Host::Coordinator,
    port: 0,
};

/// One end: its NAT's state and what it has learnt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Side {
    end: End,
    /// Outer port by what the mapping depends on.
    mappings: Vec<(Vec<u8>, u8)>,
    /// Flows: who, and through which outer port.
    sessions: BTreeSet<(Endpoint, u8)>,
    /// Senders whom the router itself remembers, each at a port that is taken now.
    poisoned: BTreeSet<(Endpoint, u8)>,
    /// Addresses that this end sends to.
    targets: BTreeSet<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    ends: [Side; 2],
    /// Packets that are under way or may be sent again: from, to.
    under_way: BTreeSet<(Endpoint, Endpoint)>,
    delivered: BTreeSet<(Endpoint, Endpoint)>,
}

fn search(start: World) -> Prediction {
    if start.ends.iter().any(|side| side.end == End::NoUdp) {
        return Prediction::Never;
    }
    let mut seen = HashSet::from([start.clone()]);
    let mut open = vec![start];
    let (mut found, mut stuck) = (false, false);
    while let Some(world) = open.pop() {
        if world.has_path() {
            found = true;
            continue;
        }
        let mut ended = true;
        for next in world.successors() {
            ended = false;
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
        stuck |= ended;
    }
    match (found, stuck) {
        (true, false) => Prediction::Always,
        (true, true) => Prediction::Sometimes,
        (false, _) => Prediction::Never,
    }
}

impl World {
    /// Both ends have spoken to the coordinator, which told each of the other.
    fn at_start(ends: [End; 2]) -> Self {
        let mut ends = ends.map(|end| Side {
            end,
            mappings: Vec::new(),
            sessions: BTreeSet::new(),
            poisoned: BTreeSet::new(),
            targets: BTreeSet::new(),
        });
        let ports = [ends[0].send(COORDINATOR), ends[1].send(COORDINATOR)];
        for (index, end) in ends.iter_mut().enumerate() {
            let other = 1 - index;
            end.targets.insert(Endpoint {
                host: Host::Peer(other),
                port: ports[other],
            });
        }
        Self {
            ends,
            under_way: BTreeSet::new(),
            delivered: BTreeSet::new(),
        }
    }

    /// The first end has sent to the second, and the packet has arrived.
    fn after_first_packet(self) -> Self {
        let sent = self.ends[0]
            .targets
            .iter()
            .fold(self.clone(), |world, target| {
                world.after_leaving(0, *target)
            });
        let packets = sent.under_way.clone();
        packets
            .into_iter()
            .fold(sent, |world, packet| world.after_arriving(packet))
    }

    /// Packets have arrived both ways between the same two endpoints.
    fn has_path(&self) -> bool {
        self.delivered
            .iter()
            .any(|(from, to)| self.delivered.contains(&(*to, *from)))
    }

    /// Every world that one more packet, leaving or arriving, makes of this one.
    fn successors(&self) -> Vec<Self> {
        let leaving = (0..2).flat_map(|side| {
            self.ends[side]
                .targets
                .iter()
                .map(move |target| (side, *target))
        });
        let mut all: Vec<Self> = leaving
            .map(|(side, target)| self.after_leaving(side, target))
            .collect();
        all.extend(
            self.under_way
                .iter()
                .map(|packet| self.after_arriving(*packet)),
        );
        all.retain(|next| next != self);
        all
    }

    fn after_leaving(&self, side: usize, target: Endpoint) -> Self {
        let mut next = self.clone();
        let port = next.ends[side].send(target);
        next.under_way.insert((
            Endpoint {
                host: Host::Peer(side),
                port,
            },
            target,
        ));
        next
    }

    fn after_arriving(&self, (from, to): (Endpoint, Endpoint)) -> Self {
        let mut next = self.clone();
        if let Host::Peer(side) = to.host
            && next.ends[side].receive(from, to.port)
        {
            next.ends[side].targets.insert(from);
            next.delivered.insert((from, to));
        }
        next
    }
}

impl Side {
    /// The outer port by which a packet to `target` leaves.
    fn send(&mut self, target: Endpoint) -> u8 {
        let End::Nat { behaviour, .. } = self.end else {
            return 0;
        };
        if let Some((_, port)) = self.sessions.iter().find(|(remote, _)| *remote == target) {
            return *port;
        }
        let mut port = self.mapping(behaviour.mapping, target);
        if self.poisoned.contains(&(target, port)) {
            port = self.fresh_port();
        }
        self.sessions.insert((target, port));
        port
    }

    /// One that belongs to a single flow.
    fn fresh_port(&mut self) -> u8 {
        let port = u8::try_from(self.mappings.len()).unwrap_or(u8::MAX);
        self.mappings.push((vec![u8::MAX, port], port));
        port
    }

    fn mapping(&mut self, mapping: Mapping, target: Endpoint) -> u8 {
        let host = match target.host {
            Host::Coordinator => 2,
            Host::Peer(side) => u8::try_from(side).unwrap_or(u8::MAX),
        };
        let key = match mapping {
            Mapping::Eim => vec![],
            Mapping::Adm => vec![host],
            Mapping::Apdm => vec![host, target.port],
        };
        if let Some((_, port)) = self.mappings.iter().find(|(known, _)| *known == key) {
            return *port;
        }
        let port = u8::try_from(self.mappings.len()).unwrap_or(u8::MAX);
        self.mappings.push((key, port));
        port
    }

    /// Whether a packet from `remote` to this outer port comes through.
    fn receive(&mut self, remote: Endpoint, port: u8) -> bool {
        let End::Nat { behaviour, inbound } = self.end else {
            return true;
        };
        let through_port = self.sessions.iter().filter(|(_, p)| *p == port);
        let allowed = match behaviour.filtering {
            Filtering::Eif => true,
            Filtering::Adf => through_port.clone().any(|(r, _)| r.host == remote.host),
            Filtering::Apdf => through_port.clone().any(|(r, _)| *r == remote),
        };
        let affine = self.sessions.iter().any(|(r, _)| *r == remote);
        if allowed && !affine {
            self.sessions.insert((remote, port));
        }
        if !allowed && inbound == Inbound::CreatesState {
            self.poisoned.insert((remote, port));
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Behaviour; 9] {
        Behaviour::ALL
    }

    #[test]
    fn the_classic_types_are_as_measured() {
        use Behaviour as B;
        let types = [
            None,
            Some(B::FULL_CONE),
            Some(B::ADDRESS_RESTRICTED),
            Some(B::PORT_RESTRICTED),
            Some(B::SYMMETRIC),
        ];
        for a in types {
            for b in types {
                let restricted = |n| n == Some(B::PORT_RESTRICTED) || n == Some(B::SYMMETRIC);
                let impossible =
                    restricted(a) && restricted(b) && (a != b || a == Some(B::SYMMETRIC));
                let expected = if impossible {
                    Prediction::Never
                } else {
                    Prediction::Always
                };
                assert_eq!(predict(a, b), expected, "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn a_public_end_is_always_reached() {
        for nat in all() {
            assert_eq!(predict(End::Public, Some(nat)), Prediction::Always, "{nat}");
        }
    }

    #[test]
    fn where_no_udp_passes_there_is_a_relay_or_nothing() {
        for other in [End::Public, End::NoUdp, Some(Behaviour::FULL_CONE).into()] {
            assert_eq!(predict(End::NoUdp, other), Prediction::Never);
            assert_eq!(category(End::NoUdp, other), Category::Relay);
            assert_eq!(category(other, End::NoUdp), Category::Relay);
        }
    }

    /// A router that remembers early inbound makes luck of what should always work.
    #[test]
    fn inbound_that_creates_state_takes_the_certainty() {
        let poisoned = End::Nat {
            behaviour: Behaviour::PORT_RESTRICTED,
            inbound: Inbound::CreatesState,
        };
        let plain = Some(Behaviour::PORT_RESTRICTED);
        assert_eq!(predict(plain, plain), Prediction::Always);
        assert_eq!(predict(poisoned, plain), Prediction::Sometimes);
        assert_eq!(predict_if_first(plain, poisoned), Prediction::Never);
        assert_eq!(predict_if_first(poisoned, plain), Prediction::Always);
        assert_eq!(
            predict(poisoned, Some(Behaviour::FULL_CONE)),
            Prediction::Always
        );
    }

    /// Where it depends on whose packet comes first, that decides it.
    #[test]
    fn in_a_given_order_sometimes_is_settled() {
        for a in all() {
            for b in all() {
                let (first, second) = (
                    predict_if_first(Some(a), Some(b)),
                    predict_if_first(Some(b), Some(a)),
                );
                if predict(Some(a), Some(b)) == Prediction::Sometimes {
                    assert_eq!(first.min(second), Prediction::Never, "{a} with {b}");
                    assert_eq!(first.max(second), Prediction::Always, "{a} with {b}");
                } else {
                    assert_eq!((first, second), (second, predict(Some(a), Some(b))));
                }
            }
        }
    }

    #[test]
    fn looser_filtering_is_never_worse() {
        let all = all();
        for a in &all {
            for b in &all {
                let looser = Behaviour {
                    filtering: Filtering::Eif,
                    ..*a
                };
                let (strict, loose) =
                    (predict(Some(*a), Some(*b)), predict(Some(looser), Some(*b)));
                assert!(
                    loose >= strict,
                    "{looser} with {b} is {loose}, {a} with it {strict}"
                );
            }
        }
    }

    #[test]
    fn between_firewalls_there_is_always_a_path() {
        let firewall = Some(Behaviour::FIREWALL);
        assert_eq!(predict(firewall, firewall), Prediction::Always);
        assert_eq!(category(None, firewall), Category::NatTraversed);
    }

    /// The 45 unordered pairs: a change here is a change of theory.
    #[test]
    fn the_table() {
        let all = all();
        let mut table = String::new();
        for (index, a) in all.iter().enumerate() {
            for b in &all[index..] {
                table.push_str(&format!("{a:<9} {b:<9} {}\n", predict(Some(*a), Some(*b))));
            }
        }
        assert_eq!(table.lines().count(), 45);
        insta::assert_snapshot!(table);
    }
}
