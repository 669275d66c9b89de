//! Pairs of NAT behaviours: what theory says, what the request expects, what happened.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Counted, ObservedPath};
use crate::cells::{Kind, kind};
use crate::event::{Plan, PlanNode};
use crate::family::Family;
use crate::measure::{Place, Trial, Yield};
use crate::nat::describe;
use crate::nat::theory::{Category, End, Prediction, category, predict};
use crate::stats::interval;
use crate::suite::{Driver, SAME_NAT};

/// One ordered pair of behaviours, over all pairs of nodes that have them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BehaviourPair {
    /// Absent for IPv4.
    #[serde(default, skip_serializing_if = "Family::is_ipv4")]
    pub family: Family,
    /// `public`, `Symmetric (APDM/APDF)`, `no UDP`.
    pub caller: String,
    pub callee: String,
    pub category: Category,
    pub predicted: Prediction,
    /// Percent: the lower one of what the inventory expects of the two ends' NATs.
    pub expected: Option<f64>,
    /// Without those that the infrastructure failed. None where no two nodes have
    /// these behaviours, and none could stand in.
    pub attempts: u64,
    pub successes: u64,
    /// Of the successes in percent, at 95%.
    pub interval: Option<[f64; 2]>,
    /// Paths by counted packets.
    pub direct: u64,
    pub relayed: u64,
    /// The inventory has one node of this behaviour: another one's box was made the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stood_in: bool,
}

/// Every pair of the plan's behaviours whose callee is behind a NAT, also those that
/// it has no two nodes for. None, where NATs were not what the run was about.
pub fn pairs(plan: &Plan, yielded: &Yield<'_>) -> Vec<BehaviourPair> {
    let is_about_nats = |suite: &&crate::suite::Suite| suite.driver == Driver::NatTraversal;
    let Some(suite) = plan.suites.iter().find(is_about_nats) else {
        return Vec::new();
    };
    let mut tried: BTreeMap<Kind, Vec<&Attempt>> = BTreeMap::new();
    let attempts = yielded.attempts.iter();
    for attempt in attempts.filter(|a| a.start.suite == suite.name) {
        if let Some(kind) = kind(plan, &attempt.start.cell.pair) {
            tried.entry(kind).or_default().push(attempt);
        }
    }
    let of_family = |family: &Family| {
        let ends = ends(plan, *family);
        let mut pairs = Vec::new();
        for (from, of_from) in &ends {
            for (to, of_to) in ends.iter().filter(|(to, _)| **to != End::Public) {
                let kind = (*family, *from, *to);
                let tried = tried.get(&kind).map_or(&[][..], Vec::as_slice);
                let mut pair = pair(kind, lower(*of_from, *of_to), tried);
                if tried.is_empty() && from == to {
                    pair.take(&yielded.trials(&suite.name, &family.measure(SAME_NAT)));
                }
                pairs.push(pair);
            }
        }
        pairs
    };
    plan.families.iter().flat_map(of_family).collect()
}

/// The behaviours of tested nodes, each with what is expected of it.
fn ends(plan: &Plan, family: Family) -> BTreeMap<End, Option<f64>> {
    let mut ends: BTreeMap<End, Option<f64>> = BTreeMap::new();
    let speaks = |node: &&PlanNode| node.tested && node.families.contains(&family);
    for node in plan.nodes.iter().filter(speaks) {
        let expected = ends.entry(node.end(family)).or_default();
        *expected = lower(*expected, node.expected_success);
    }
    ends
}

fn lower(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn pair((family, from, to): Kind, expected: Option<f64>, tried: &[&Attempt]) -> BehaviourPair {
    let count = |is: &dyn Fn(&Attempt) -> bool| tried.iter().filter(|a| is(a)).count() as u64;
    let successes = count(&|a| a.verdict() == Counted::Success);
    let attempts = successes + count(&|a| a.verdict() == Counted::Failure);
    BehaviourPair {
        family,
        caller: word(from, family),
        callee: word(to, family),
        category: category(from, to),
        predicted: predict(from, to),
        expected,
        attempts,
        successes,
        interval: interval(successes, attempts, 0.95),
        direct: count(&|a| a.observed.path == ObservedPath::Direct),
        relayed: count(&|a| a.observed.path == ObservedPath::Relayed),
        stood_in: false,
    }
}

impl BehaviourPair {
    /// What became of this behaviour with itself, another node's box being made the same.
    fn take(&mut self, trials: &[(Place, Trial)]) {
        let ours = trials
            .iter()
            .filter(|(place, _)| place.conditions.get("nat") == Some(&self.caller));
        let count = |wanted: Trial| ours.clone().filter(|(_, t)| *t == wanted).count() as u64;
        self.successes = count(Trial::Success);
        self.attempts = self.successes + count(Trial::Failure);
        self.interval = interval(self.successes, self.attempts, 0.95);
        self.stood_in = self.attempts > 0;
    }
}

fn word(end: End, family: Family) -> String {
    match (end, family) {
        (End::Public, _) => "public".into(),
        (End::Nat { behaviour, .. }, Family::Ipv4) => describe(behaviour),
        (End::Nat { .. }, Family::Ipv6) => "firewall (IPv6)".into(),
        (End::NoUdp, _) => "no UDP".into(),
    }
}

/// `4/4 [39.8, 100.0], 4 direct`
impl std::fmt::Display for BehaviourPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some([low, high]) = self.interval else {
            return f.write_str("no two nodes");
        };
        let (successes, attempts) = (self.successes, self.attempts);
        write!(f, "{successes}/{attempts} [{low:.1}, {high:.1}]")?;
        for (count, path) in [(self.direct, "direct"), (self.relayed, "relayed")] {
            if count > 0 {
                write!(f, ", {count} {path}")?;
            }
        }
        if self.stood_in {
            f.write_str(", with a stand-in")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_expectation_holds_for_a_pair() {
        assert_eq!(lower(Some(95.0), Some(70.0)), Some(70.0));
        assert_eq!(lower(Some(95.0), None), Some(95.0));
        assert_eq!(lower(None, None), None);
    }

    #[test]
    fn a_pair_that_no_two_nodes_have_says_so() {
        let symmetric = End::Nat {
            behaviour: "APDM/APDF".parse().unwrap(),
            inbound: crate::nat::Inbound::Dropped,
        };
        let pair = pair((Family::Ipv4, symmetric, symmetric), Some(70.0), &[]);
        assert_eq!(pair.caller, "Symmetric (APDM/APDF)");
        assert_eq!(pair.predicted, Prediction::Never);
        assert_eq!(pair.to_string(), "no two nodes");
    }
}
