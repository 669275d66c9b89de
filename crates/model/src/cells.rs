//! The cells of a plan: which ordered pairs of peers are tried, and what is known of
//! them before any attempt. Two peers of one node are no pair: what they send each
//! other never reaches the network.

use std::collections::BTreeSet;

use crate::attempt::{Cell, Pair};
use crate::event::{Plan, PlanNode};
use crate::inventory::NodeName;
use crate::nat::theory::{Category, End, category, predict};
use crate::sample::{Sample, stratified};
use crate::suite::{Driver, Suite};

/// Every ordered pair of peers on two tested nodes that a suite has attempts for, or
/// the plan's sample of them, each with its category and prediction by the labels.
pub fn cells(plan: &Plan, suite: &Suite) -> Vec<Cell> {
    of_nodes(&plan.nodes, suite, plan.sample)
}

fn of_nodes(nodes: &[PlanNode], suite: &Suite, sample: Option<Sample>) -> Vec<Cell> {
    let drafts = drafts(nodes, |category| has_attempts(suite, category));
    match sample {
        None => drafts.iter().map(Draft::cell).collect(),
        Some(sample) => stratified(&drafts, sample.pairs, sample.seed, Draft::kind)
            .into_iter()
            .map(|position| drafts[position].cell())
            .collect(),
    }
}

/// The cells that plain UDP has to try for these: one for each pair of nodes, as all
/// peers of a node have the same NAT in front of them.
pub fn reference_cells(cells: impl IntoIterator<Item = Cell>) -> Vec<Cell> {
    let mut seen = BTreeSet::new();
    let without_peers = cells.into_iter().map(|cell| Cell {
        pair: cell.pair.without_peers(),
        ..cell
    });
    without_peers
        .filter(|cell| seen.insert(cell.pair.clone()))
        .collect()
}

/// What there is to draw a sample from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Population {
    /// Ordered pairs of peers.
    pub pairs: usize,
    /// Ordered pairs of NAT behaviours among them, each of which a sample has to have.
    pub behaviours: usize,
    /// A sample that has all behaviours has these too.
    pub categories: BTreeSet<Category>,
}

pub fn population(nodes: &[PlanNode], suite: &Suite) -> Population {
    let drafts = drafts(nodes, |category| has_attempts(suite, category));
    let behaviours: BTreeSet<_> = drafts.iter().map(Draft::kind).collect();
    Population {
        pairs: drafts.len(),
        behaviours: behaviours.len(),
        categories: behaviours
            .iter()
            .map(|(from, to)| category(*from, *to))
            .collect(),
    }
}

/// What the suites try only a part of, in words for people.
pub fn samples(plan: &Plan) -> Vec<String> {
    let Some(sample) = plan.sample else {
        return Vec::new();
    };
    let all = plan.suites.iter();
    let pairs = all.map(|suite| (&suite.name, population(&plan.nodes, suite).pairs));
    let larger = pairs.filter(|(_, pairs)| sample.pairs < *pairs);
    larger
        .map(|(suite, pairs)| {
            format!(
                "{} of {pairs} ordered pairs of peers in {suite}, drawn with seed {}, some of every pair of NAT behaviours",
                sample.pairs, sample.seed
            )
        })
        .collect()
}

/// All ordered pairs of tested nodes.
pub fn between_all(plan: &Plan) -> Vec<Cell> {
    reference_cells(drafts(&plan.nodes, |_| true).iter().map(Draft::cell))
}

/// The pairs of nodes that are loaded, of every category and class of latency some,
/// where there are not fewer pairs than these.
pub fn loaded<S: Ord>(
    plan: &Plan,
    pairs: usize,
    seed: u64,
    latency: impl Fn(&Pair) -> S,
) -> Vec<Cell> {
    let all = between_all(plan);
    let kind = |cell: &Cell| (cell.category, latency(&cell.pair));
    stratified(&all, pairs, seed, kind)
        .into_iter()
        .map(|position| all[position].clone())
        .collect()
}

/// A pair of NAT behaviours, caller's and callee's, as theory sees them.
pub type Kind = (End, End);

/// What kind a cell of this plan is of; `None` for nodes that it does not have.
pub fn kind(plan: &Plan, pair: &Pair) -> Option<Kind> {
    let end = |name: &NodeName| Some(plan.nodes.iter().find(|n| n.name == *name)?.end());
    Some((end(&pair.from)?, end(&pair.to)?))
}

/// The first cell of every kind.
pub fn one_of_each_kind(plan: &Plan, cells: &[Cell]) -> Vec<Cell> {
    let mut seen = BTreeSet::new();
    let cells = cells.iter();
    cells
        .filter(|cell| seen.insert(kind(plan, &cell.pair)))
        .cloned()
        .collect()
}

fn has_attempts(suite: &Suite, category: Category) -> bool {
    match suite.driver {
        Driver::Matrix => true,
        Driver::NatTraversal => category != Category::Direct,
        Driver::Throughput(_) | Driver::Steps(_) => false,
    }
}

/// A cell before its names are written: there may be a million.
#[derive(Clone, Copy)]
struct Draft<'a> {
    from: (&'a PlanNode, u16),
    to: (&'a PlanNode, u16),
}

/// All pairs of nodes come before any of them comes with other peers.
fn drafts(nodes: &[PlanNode], is_wanted: impl Fn(Category) -> bool) -> Vec<Draft<'_>> {
    let tested: Vec<&PlanNode> = nodes.iter().filter(|n| n.tested).collect();
    let pairs = tested
        .iter()
        .flat_map(|from| tested.iter().map(move |to| (*from, *to)));
    let pairs: Vec<_> = pairs
        .filter(|(from, to)| from.name != to.name)
        .filter(|(from, to)| is_wanted(category(from.end(), to.end())))
        .collect();
    let most = tested.iter().map(|n| n.peers).max().unwrap_or(0);
    let mut drafts = Vec::new();
    for (caller, callee) in (1..=most).flat_map(|i| (1..=most).map(move |j| (i, j))) {
        let there = pairs
            .iter()
            .filter(|(from, to)| caller <= from.peers && callee <= to.peers);
        drafts.extend(there.map(|(from, to)| Draft {
            from: (from, caller),
            to: (to, callee),
        }));
    }
    drafts
}

impl Draft<'_> {
    fn kind(&self) -> Kind {
        (self.from.0.end(), self.to.0.end())
    }

    fn cell(&self) -> Cell {
        let (from, to) = self.kind();
        Cell {
            pair: Pair {
                from_peer: number(self.from),
                to_peer: number(self.to),
                ..Pair::of_nodes(self.from.0.name.clone(), self.to.0.name.clone())
            },
            category: category(from, to),
            predicted: predict(from, to),
        }
    }
}

/// A node's only peer goes by the node's name.
fn number((node, number): (&PlanNode, u16)) -> Option<u16> {
    (node.peers > 1).then_some(number)
}

#[cfg(test)]
mod tests {
    use crate::inventory::NodeName;
    use crate::nat::{Behaviour, Inbound, Udp};
    use crate::suite;

    use super::*;

    fn node(name: &str, nat: Option<Behaviour>, peers: u16) -> PlanNode {
        PlanNode {
            name: NodeName::new(name),
            role: "test".into(),
            region: String::new(),
            place: None,
            tested: true,
            nat,
            expected_success: None,
            udp: Udp::Open,
            inbound: Inbound::Dropped,
            peers,
        }
    }

    fn matrix() -> Suite {
        suite::built_in().remove(0)
    }

    fn names(cells: &[Cell]) -> Vec<String> {
        cells.iter().map(|cell| cell.pair.to_string()).collect()
    }

    #[test]
    fn one_peer_a_node_goes_by_its_nodes_name() {
        let nodes = [node("a", None, 1), node("b", None, 1)];
        let cells = of_nodes(&nodes, &matrix(), None);
        assert_eq!(names(&cells), ["a → b", "b → a"]);
    }

    #[test]
    fn peers_of_one_node_are_no_pair_and_all_others_are() {
        let nodes = [
            node("a", None, 2),
            node("b", Some(Behaviour::SYMMETRIC), 1),
            node("c", None, 2),
        ];
        let cells = of_nodes(&nodes, &matrix(), None);
        let all: BTreeSet<String> = names(&cells).into_iter().collect();
        assert_eq!((cells.len(), all.len()), (16, 16), "2·1·2 + 2·2·2 + 1·2·2");
        assert!(all.contains("a/2 → c/1") && all.contains("b → a/2"));
        assert!(!all.contains("a/1 → a/2"));
        let first: BTreeSet<Pair> = cells[..6].iter().map(|c| c.pair.without_peers()).collect();
        assert_eq!(first.len(), 6, "each pair of nodes before any comes again");
        assert_eq!(reference_cells(cells).len(), 6);
    }

    #[test]
    fn a_sample_has_every_pair_of_behaviours() {
        let nats = [
            None,
            None,
            None,
            Some(Behaviour::FULL_CONE),
            Some(Behaviour::SYMMETRIC),
            Some(Behaviour::PORT_RESTRICTED),
        ];
        let nodes: Vec<PlanNode> = (0..)
            .zip(nats)
            .map(|(i, nat)| node(&format!("n{i}"), nat, 30))
            .collect();
        let all = population(&nodes, &matrix());
        assert_eq!((all.pairs, all.behaviours), (30 * 900, 4 * 4 - 3));
        let sample = Sample {
            pairs: 100,
            seed: 7,
        };
        let cells = of_nodes(&nodes, &matrix(), Some(sample));
        let kind = |name: &str| nodes.iter().find(|n| n.name.as_str() == name).unwrap().nat;
        let covered: BTreeSet<_> = cells
            .iter()
            .map(|c| (kind(c.pair.from.as_str()), kind(c.pair.to.as_str())))
            .collect();
        let categories: BTreeSet<_> = cells.iter().map(|c| c.category).collect();
        assert_eq!(categories, all.categories);
        assert_eq!((cells.len(), covered.len()), (100, all.behaviours));
    }
}
