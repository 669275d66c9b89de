//! Pairs of NAT behaviours: what theory says, what the request expects, what happened.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Counted, ObservedPath};
use crate::cells::{Kind, kind};
use crate::event::{Plan, PlanNode};
use crate::nat::describe;
use crate::nat::theory::{Category, End, Prediction, category, predict};
use crate::stats::interval;
use crate::suite::Driver;

/// One ordered pair of behaviours, over all pairs of nodes that have them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BehaviourPair {
    /// `public`, `Symmetric (APDM/APDF)`, `no UDP`.
    pub caller: String,
    pub callee: String,
    pub category: Category,
    pub predicted: Prediction,
    /// Percent: the lower one of what the inventory expects of the two ends' NATs.
    pub expected: Option<f64>,
    /// Without those that the infrastructure failed. None where no two nodes have
    /// these behaviours.
    pub attempts: u64,
    pub successes: u64,
    /// Of the successes in percent, at 95%.
    pub interval: Option<[f64; 2]>,
    /// Paths by counted packets.
    pub direct: u64,
    pub relayed: u64,
}

/// Every pair of the plan's behaviours whose callee is behind a NAT, also those that
/// it has no two nodes for. None, where NATs were not what the run was about.
pub fn pairs(plan: &Plan, attempts: &[&Attempt]) -> Vec<BehaviourPair> {
    let is_about_nats = |suite: &&crate::suite::Suite| suite.driver == Driver::NatTraversal;
    let Some(suite) = plan.suites.iter().find(is_about_nats) else {
        return Vec::new();
    };
    let mut tried: BTreeMap<Kind, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts.iter().filter(|a| a.start.suite == suite.name) {
        if let Some(kind) = kind(plan, &attempt.start.cell.pair) {
            tried.entry(kind).or_default().push(attempt);
        }
    }
    let ends = ends(plan);
    let all = ends
        .keys()
        .flat_map(|from| ends.keys().map(move |to| (*from, *to)));
    all.filter(|(_, to)| *to != End::Public)
        .map(|kind| {
            let tried = tried.get(&kind).map_or(&[][..], Vec::as_slice);
            pair(kind, [ends[&kind.0], ends[&kind.1]], tried)
        })
        .collect()
}

/// The behaviours of tested nodes, each with what is expected of it.
fn ends(plan: &Plan) -> BTreeMap<End, Option<f64>> {
    let mut ends: BTreeMap<End, Option<f64>> = BTreeMap::new();
    for node in plan.nodes.iter().filter(|node| node.tested) {
        let expected = ends.entry(PlanNode::end(node)).or_default();
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

fn pair((from, to): Kind, expected: [Option<f64>; 2], tried: &[&Attempt]) -> BehaviourPair {
    let count = |is: &dyn Fn(&Attempt) -> bool| tried.iter().filter(|a| is(a)).count() as u64;
    let successes = count(&|a| a.verdict() == Counted::Success);
    let attempts = successes + count(&|a| a.verdict() == Counted::Failure);
    BehaviourPair {
        caller: word(from),
        callee: word(to),
        category: category(from, to),
        predicted: predict(from, to),
        expected: lower(expected[0], expected[1]),
        attempts,
        successes,
        interval: interval(successes, attempts, 0.95),
        direct: count(&|a| a.observed.path == ObservedPath::Direct),
        relayed: count(&|a| a.observed.path == ObservedPath::Relayed),
    }
}

fn word(end: End) -> String {
    match end {
        End::Public => "public".into(),
        End::Nat { behaviour, .. } => describe(behaviour),
        End::NoUdp => "no UDP".into(),
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
        let pair = pair((symmetric, symmetric), [Some(70.0), Some(70.0)], &[]);
        assert_eq!(pair.caller, "Symmetric (APDM/APDF)");
        assert_eq!(pair.predicted, Prediction::Never);
        assert_eq!(pair.to_string(), "no two nodes");
    }
}
