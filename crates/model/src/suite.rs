//! A suite: a named thing that TEST performs against deployed testers, and that
//! yields attempts and measures.
//!
//! The suites of the request are defined here. Others come from a config, as a
//! list of steps that testers perform; the engine drives them without knowing
//! what they do.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::family::Family;
use crate::load::Load;
use crate::measure::{Direction, Kind, MeasureDef, Unit};

/// `connectivity`, `broadcast`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct SuiteName(String);

impl SuiteName {
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What attempts of journals older than suites belong to.
impl Default for SuiteName {
    fn default() -> Self {
        Self::new(CONNECTIVITY)
    }
}

impl std::fmt::Display for SuiteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

pub const CONNECTIVITY: &str = "connectivity";
pub const NAT_TRAVERSAL: &str = "nat-traversal";
pub const THROUGHPUT: &str = "throughput";

/// A suite as a plan holds it: everything that is fixed before it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suite {
    pub name: SuiteName,
    /// In a line.
    pub does: String,
    pub driver: Driver,
    pub measures: Vec<MeasureDef>,
}

/// Who knows how a suite goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// Every ordered pair once, then undecided categories again.
    Matrix,
    NatTraversal,
    /// One pair after the other, connected and then loaded.
    Throughput(Load),
    /// The tester: the engine calls `perform`, step by step.
    Steps(Vec<Step>),
}

/// One call that testers get in every round of a suite, or one thing that is done
/// to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub step: String,
    /// The engine does this, and calls nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    #[serde(default)]
    pub at: At,
    #[serde(default = "half_a_minute")]
    pub timeout_seconds: u64,
    /// For the tester; nobody else reads it.
    #[serde(default)]
    pub params: serde_json::Value,
    /// What the network carries meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<Wire>,
}

/// What is done to the nodes of a step, or to the network between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// No UDP passes between these nodes and all others.
    CutOff,
    /// It passes again, everywhere.
    Rejoin,
    /// The testers there are killed; they come back and remember nothing.
    Crash,
    /// The same in good order.
    Restart,
}

/// All UDP that leaves the fleet's hosts during a step, headers included, shared out
/// among a round's successes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Where it goes: samples, in bytes.
    pub measure: String,
    /// A rate of the same suite.
    pub per: String,
}

/// Who performs a step. The next step begins when all are done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// All testers at once.
    #[default]
    Every,
    /// One after the other.
    Turns,
    /// One alone, another one in each round.
    One,
    /// Every second one, the others in the next round.
    Half,
}

impl At {
    /// Which of these take part in a round.
    pub fn of<T: Clone>(self, all: &[T], round: u32) -> Vec<T> {
        let round = round as usize;
        let is_in = |place: usize| match self {
            Self::Every | Self::Turns => true,
            Self::One => place == round % all.len(),
            Self::Half => place % 2 == round % 2,
        };
        let places = all.iter().enumerate();
        places
            .filter(|(place, _)| is_in(*place))
            .map(|(_, one)| one.clone())
            .collect()
    }
}

fn half_a_minute() -> u64 {
    30
}

/// A suite of steps, as a config declares it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteConfig {
    pub does: String,
    pub steps: Vec<Step>,
    #[serde(default)]
    pub measures: BTreeMap<String, MeasureDef>,
}

/// The measure that every suite of steps has: whether steps were done at all.
pub const STEPS_DONE: &str = "steps_done";

impl SuiteConfig {
    /// Words of its steps that name nothing, and why.
    pub fn faults(&self) -> Vec<(String, String)> {
        let wires = self.steps.iter().filter_map(|step| step.wire.as_ref());
        let wanted = wires.flat_map(|wire| {
            let where_to = (&wire.measure, Kind::Samples, "samples in bytes");
            [where_to, (&wire.per, Kind::Rate, "a rate")]
        });
        wanted
            .filter(|(name, kind, _)| self.measures.get(*name).is_none_or(|m| m.kind != *kind))
            .map(|(name, _, what)| {
                (
                    name.clone(),
                    format!("`{name}` is no measure of it that is {what}"),
                )
            })
            .collect()
    }

    pub fn named(&self, name: &str) -> Suite {
        let declared = self.measures.iter().map(|(name, def)| MeasureDef {
            name: name.clone(),
            ..def.clone()
        });
        Suite {
            name: SuiteName::new(name),
            does: self.does.clone(),
            driver: Driver::Steps(self.steps.clone()),
            measures: declared.chain([steps_done()]).collect(),
        }
    }
}

fn steps_done() -> MeasureDef {
    MeasureDef {
        target: Some(100.0),
        margin: Some(5.0),
        ..rate(
            STEPS_DONE,
            "one trial a step and tester: it answered in time and without an error",
            "whether what it answered is right; that is what the suite's own measures are for",
        )
    }
}

impl Suite {
    /// With the measures of its attempts in each of these families. Steps and transfers
    /// go over the first one alone.
    pub fn in_families(self, families: &[Family]) -> Self {
        if matches!(self.driver, Driver::Steps(_) | Driver::Throughput(_)) {
            return self;
        }
        let of_family = |family: &Family| {
            let family = *family;
            let named = move |def: &MeasureDef| MeasureDef {
                name: family.measure(&def.name),
                how: match family {
                    Family::Ipv4 => def.how.clone(),
                    Family::Ipv6 => format!("over IPv6: {}", def.how),
                },
                ..def.clone()
            };
            self.measures.iter().map(named).collect::<Vec<_>>()
        };
        Self {
            measures: families.iter().flat_map(of_family).collect(),
            ..self
        }
    }
}

/// The suites that the engine drives itself, and that every tester can serve.
pub fn built_in() -> Vec<Suite> {
    vec![connectivity(), nat_traversal()]
}

/// Drives itself as well, with testers that know how to send at full speed.
pub fn throughput(load: Load) -> Suite {
    Suite {
        name: SuiteName::new(THROUGHPUT),
        does: "Bytes per second, direct and relayed".into(),
        driver: Driver::Throughput(load),
        measures: vec![
            MeasureDef {
                target: Some(99.0),
                margin: Some(8.0),
                ..rate(
                    "carried",
                    "one trial a transfer, named in its conditions: the pair was connected by the path that was asked for, and the receiver got every byte that was sent on every stream, by SHA-256, and not in less than half the time that it was sent for; the path by counted packets",
                    "whether it was fast: that is goodput_mbit",
                )
            },
            samples(
                "goodput_mbit",
                Unit::MegabitsPerSecond,
                Direction::Higher,
                "bytes that the receiver's program got, from the first to the last, by its own clock; of transfers that were carried",
                "what an application does with them; slow start is in it; sender, receiver and, on the twin, the emulated internet share this machine's processors",
            ),
            samples(
                "ceiling_mbit",
                Unit::MegabitsPerSecond,
                Direction::Higher,
                "the same for plain TCP (to a public callee) and plain UDP as fast as it goes, between the same two nodes just before, on one stream: at the receiver",
                "relayed paths, which plain UDP does not have; a burst that overruns a queue arrives slower than the path could carry. UDP is sent forty datagrams a call on Linux",
            ),
            samples(
                "of_ceiling",
                Unit::Percent,
                Direction::Higher,
                "goodput_mbit over the better of TCP and UDP, for the same pair and direction; of direct transfers",
                "the same as both",
            ),
            samples(
                "lost_packets",
                Unit::Percent,
                Direction::Lower,
                "packets that the sender's stack gave up for lost, and sent again, of all that it sent in a transfer, by its own statistics",
                "losses that it did not notice, or took for lost in vain",
            ),
            samples(
                "cpu_s_per_gbit",
                Unit::SecondsPerGigabit,
                Direction::Lower,
                "processor time of the tester's process in a transfer, by the gigabits that arrived; sender and receiver each, as a condition says",
                "the kernel's work for its packets outside of its system calls; a relay's; what the tester spends on making and hashing the bytes is in it",
            ),
        ],
    }
}

fn connectivity() -> Suite {
    Suite {
        name: SuiteName::new(CONNECTIVITY),
        does: "Connection matrix (direct, NAT, relay)".into(),
        driver: Driver::Matrix,
        measures: vec![
            rate(
                "direct",
                "first attempts whose callee is public: 256 KiB each way by a path without relay, both digests right, the path by counted packets",
                "a path that exists for less than the exchange takes; whether a claimed path is the counted one where nobody counts",
            ),
            rate(
                "nat_traversed",
                "first attempts whose callee is behind a NAT and where theory knows a path: the same, and a relayed connection is a failure",
                "the same; NATs that the inventory has none of",
            ),
            rate(
                "relay",
                "first attempts where theory knows no path: the payload went each way, however it went",
                "whether the relay would carry more than this",
            ),
            connect_ms(),
        ],
    }
}

/// A measure's name, with its suite's where others have one of that name: `sync/known`.
pub fn told_apart<'a>(
    suite: &SuiteName,
    name: &str,
    mut all: impl Iterator<Item = (&'a SuiteName, &'a str)>,
) -> String {
    match all.any(|(other, of_other)| of_other == name && other != suite) {
        true => format!("{suite}/{name}"),
        false => name.to_owned(),
    }
}

/// A NAT behaviour with itself, where the inventory has one node of it.
pub const SAME_NAT: &str = "same_nat";

fn nat_traversal() -> Suite {
    Suite {
        name: SuiteName::new(NAT_TRAVERSAL),
        does: "NAT hole-punching across different NAT types".into(),
        driver: Driver::NatTraversal,
        measures: connectivity()
            .measures
            .into_iter()
            .filter(|measure| measure.name != "direct")
            .chain(what_becomes_of_connections())
            .collect(),
    }
}

/// Not judged: a stack may do without, and its users should know.
fn what_becomes_of_connections() -> [MeasureDef; 4] {
    [
        rate(
            SAME_NAT,
            "three trials each way of each NAT behaviour that the inventory has one node of, with another NAT's node, whose box is made the same for the time and measured: connected, directly where theory says that a path exists, 256 KiB each way, both digests right",
            "behaviours that no other box could stand in for (one with a carrier's NAT or a timeout of its own does not); IPv6",
        ),
        rate(
            "relay_fallback",
            "one trial a pair of NAT behaviours, where the stack offers a relay or theory knows no other path: connected by its relay rungs alone, 256 KiB each way, both digests right, through a third party by counted packets",
            "pairs with an end at a coordinator, where a relay is no third host; pairs for which the stack makes no relay although a path exists, which are findings; how long a relay lasts",
        ),
        rate(
            "survived_rebind",
            "one trial a NAT, as the caller's and as the callee's, towards a public peer: after the exchange the NAT forgets its mappings, and 256 KiB each way arrive whole over the same connection within 10 s each",
            "a connection that comes back later; two NATs that rebind at once",
        ),
        rate(
            "survived_expiry",
            "the same, after nothing but the stack's own packets for longer than the NAT keeps a mapping; only of NATs that are configured to keep one for at most 60 s",
            "NATs that keep mappings longer",
        ),
    ]
}

fn connect_ms() -> MeasureDef {
    samples(
        "connect_ms",
        Unit::Milliseconds,
        Direction::Lower,
        "from the winning rung's first packet to a usable connection, as the dialling tester's clock says; of successful attempts that began with at most four at once",
        "attempts that failed, which have none; rungs that failed before the winning one; the time to prepare an endpoint",
    )
}

pub(crate) fn rate(name: &str, how: &str, blind: &str) -> MeasureDef {
    MeasureDef {
        name: name.into(),
        kind: Kind::Rate,
        unit: Unit::Percent,
        better: Direction::Higher,
        how: how.into(),
        blind: blind.into(),
        target: None,
        margin: None,
    }
}

pub(crate) fn samples(
    name: &str,
    unit: Unit,
    better: Direction,
    how: &str,
    blind: &str,
) -> MeasureDef {
    MeasureDef {
        kind: Kind::Samples,
        unit,
        better,
        ..rate(name, how, blind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_changes_sides_and_one_goes_round() {
        let all = ["a", "b", "c"];
        assert_eq!(At::Half.of(&all, 0), ["a", "c"]);
        assert_eq!(At::Half.of(&all, 1), ["b"]);
        assert_eq!(At::One.of(&all, 4), ["b"]);
        assert_eq!(At::Turns.of(&all, 7), all);
    }
}
