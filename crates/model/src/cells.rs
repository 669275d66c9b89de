//! Which cells a plan has: every ordered pair of peers on different nodes, or a
//! sample of them. Two peers of one node are no pair: what they send each other
//! never reaches the network.

use std::collections::BTreeSet;

use crate::attempt::{Cell, Pair};
use crate::config::{Choice, Focus};
use crate::event::{Plan, PlanNode};
use crate::family::Family;
use crate::inventory::PeerId;
use crate::nat::theory::{Category, category, predict};
use crate::sample::{Sample, stratified};

/// The focus that a plan was made with.
pub fn focus_of(plan: &Plan) -> Focus {
    Focus::parse(&plan.focus).unwrap_or(Focus::Connectivity)
}

/// With category and prediction by the labels of the plan.
pub fn cells(plan: &Plan) -> Vec<Cell> {
    of_nodes(&plan.nodes, focus_of(plan), plan.sample)
}

/// The cells that a reference has to try for these: one for each pair of nodes,
/// as all peers of a node have the same NAT in front of them.
pub fn reference_cells(cells: &[Cell]) -> Vec<Cell> {
    let mut seen = BTreeSet::new();
    let without_peers = cells.iter().map(|cell| Cell {
        pair: cell.pair.without_peers(),
        ..cell.clone()
    });
    without_peers
        .filter(|cell| seen.insert(cell.pair.clone()))
        .collect()
}

pub fn of_nodes(nodes: &[PlanNode], focus: Focus, sample: Option<Sample>) -> Vec<Cell> {
    let drafts = drafts(nodes, focus);
    match sample {
        None => drafts.iter().map(Draft::cell).collect(),
        Some(sample) => stratified(&drafts, sample.pairs, sample.seed, Draft::kind)
            .into_iter()
            .map(|position| drafts[position].cell())
            .collect(),
    }
}

/// How many pairs there are, and how many pairs of NAT behaviours among them.
pub fn count(nodes: &[PlanNode], focus: Focus) -> (usize, usize) {
    let drafts = drafts(nodes, focus);
    let kinds: BTreeSet<_> = drafts.iter().map(Draft::kind).collect();
    (drafts.len(), kinds.len())
}

/// A cell before its names are written: there may be a million.
#[derive(Clone, Copy)]
struct Draft<'a> {
    from: (&'a PlanNode, u16),
    to: (&'a PlanNode, u16),
}

/// All pairs of nodes come before any of them comes with other peers.
fn drafts(nodes: &[PlanNode], focus: Focus) -> Vec<Draft<'_>> {
    let tested: Vec<&PlanNode> = nodes.iter().filter(|n| n.tested).collect();
    let most = tested.iter().map(|n| n.peers).max().unwrap_or(0);
    let mut drafts = Vec::new();
    for (i, j) in (1..=most).flat_map(|i| (1..=most).map(move |j| (i, j))) {
        for from in tested.iter().filter(|n| i <= n.peers) {
            let others = tested.iter().filter(|n| j <= n.peers);
            drafts.extend(
                others
                    .filter(|to| to.name != from.name)
                    .filter(|to| {
                        focus != Focus::NatTraversal
                            || category(from.nat, to.nat) != Category::Direct
                    })
                    .map(|to| Draft {
                        from: (from, i),
                        to: (to, j),
                    }),
            );
        }
    }
    drafts
}

impl Draft<'_> {
    fn kind(&self) -> impl Ord + use<> {
        (self.from.0.nat, self.to.0.nat)
    }

    fn cell(&self) -> Cell {
        let (from, to) = (self.from.0, self.to.0);
        Cell {
            pair: Pair {
                from: from.name.clone(),
                to: to.name.clone(),
                from_peer: named(self.from),
                to_peer: named(self.to),
                family: Family::Ipv4,
            },
            category: category(from.nat, to.nat),
            predicted: predict(from.nat, to.nat),
        }
    }
}

/// A node's only peer goes by the node's name.
fn named((node, number): (&PlanNode, u16)) -> Option<PeerId> {
    (node.peers > 1).then(|| PeerId::new(node.name.clone(), number))
}

#[cfg(test)]
mod tests {
    use crate::inventory::NodeName;
    use crate::nat::Behaviour;

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
            peers,
        }
    }

    fn names(cells: &[Cell]) -> Vec<String> {
        cells.iter().map(|cell| cell.pair.to_string()).collect()
    }

    #[test]
    fn one_peer_a_node_goes_by_its_nodes_name() {
        let nodes = [node("a", None, 1), node("b", None, 1)];
        let cells = of_nodes(&nodes, Focus::Connectivity, None);
        assert_eq!(names(&cells), ["a → b", "b → a"]);
    }

    #[test]
    fn peers_of_one_node_are_no_pair_and_all_others_are() {
        let nodes = [
            node("a", None, 2),
            node("b", Some(Behaviour::SYMMETRIC), 1),
            node("c", None, 2),
        ];
        let cells = of_nodes(&nodes, Focus::Connectivity, None);
        let all: BTreeSet<String> = names(&cells).into_iter().collect();
        assert_eq!((cells.len(), all.len()), (16, 16), "2·1·2 + 2·2·2 + 1·2·2");
        assert!(all.contains("a/2 → c/1") && all.contains("b → a/2"));
        assert!(!all.contains("a/1 → a/2"));
        let first: BTreeSet<Pair> = cells[..6].iter().map(|c| c.pair.without_peers()).collect();
        assert_eq!(first.len(), 6, "each pair of nodes before any comes again");
        assert_eq!(reference_cells(&cells).len(), 6);
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
        let (of, kinds) = count(&nodes, Focus::Connectivity);
        assert_eq!((of, kinds), (30 * 900, 4 * 4 - 3));
        let sample = Sample {
            pairs: 100,
            of,
            seed: 7,
        };
        let cells = of_nodes(&nodes, Focus::Connectivity, Some(sample));
        let kind = |name: &str| nodes.iter().find(|n| n.name.as_str() == name).unwrap().nat;
        let covered: BTreeSet<_> = cells
            .iter()
            .map(|c| (kind(c.pair.from.as_str()), kind(c.pair.to.as_str())))
            .collect();
        assert_eq!((cells.len(), covered.len()), (100, kinds));
    }
}
