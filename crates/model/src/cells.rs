//! Which cells a plan has: every ordered pair of peers on different nodes, or a
//! sample of them. Two peers of one node are no pair: what they send each other
//! never reaches the network.

use std::collections::BTreeSet;

use crate::attempt::{Cell, Pair};
use crate::config::{Choice, Focus};
use crate::event::{Plan, PlanNode};
use crate::family::Family;
use crate::inventory::PeerId;
use crate::nat::Behaviour;
use crate::nat::theory::{Category, category, predict};
use crate::sample::{Sample, stratified};

/// The focus that a plan was made with.
pub fn focus_of(plan: &Plan) -> Focus {
    Focus::parse(&plan.focus).unwrap_or(Focus::Connectivity)
}

/// With category and prediction by the labels of the plan.
pub fn cells(plan: &Plan) -> Vec<Cell> {
    let wanted = Wanted {
        nodes: &plan.nodes,
        families: &plan.families,
        focus: focus_of(plan),
    };
    wanted.cells(plan.sample)
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

/// What a plan asks about.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub nodes: &'a [PlanNode],
    pub families: &'a [Family],
    pub focus: Focus,
}

impl<'a> Wanted<'a> {
    pub fn cells(self, sample: Option<Sample>) -> Vec<Cell> {
        let drafts = self.drafts();
        match sample {
            None => drafts.iter().map(Draft::cell).collect(),
            Some(sample) => stratified(&drafts, sample.pairs, sample.seed, Draft::kind)
                .into_iter()
                .map(|position| drafts[position].cell())
                .collect(),
        }
    }

    /// How many pairs there are, and how many pairs of NAT behaviours among them.
    pub fn count(self) -> (usize, usize) {
        let drafts = self.drafts();
        let kinds: BTreeSet<_> = drafts.iter().map(Draft::kind).collect();
        (drafts.len(), kinds.len())
    }

    /// All pairs of nodes come before any of them comes with other peers.
    fn drafts(self) -> Vec<Draft<'a>> {
        let tested = self.nodes.iter().filter(|n| n.tested);
        let most = tested.map(|n| n.peers).max().unwrap_or(0);
        let numbers = (1..=most).flat_map(|i| (1..=most).map(move |j| (i, j)));
        numbers
            .flat_map(|numbers| self.families.iter().map(move |family| (numbers, *family)))
            .flat_map(|(numbers, family)| self.between_nodes(numbers, family))
            .collect()
    }

    fn between_nodes(self, (i, j): (u16, u16), family: Family) -> impl Iterator<Item = Draft<'a>> {
        let with = move |number: u16| {
            let is_there = move |n: &&PlanNode| n.tested && n.speaks(family) && number <= n.peers;
            self.nodes.iter().filter(is_there)
        };
        let pairs = with(i).flat_map(move |from| with(j).map(move |to| (from, to)));
        let drafts = pairs.map(move |(from, to)| Draft {
            from: (from, i),
            to: (to, j),
            family,
        });
        drafts.filter(move |draft| {
            draft.from.0.name != draft.to.0.name
                && (self.focus != Focus::NatTraversal || draft.category() != Category::Direct)
        })
    }
}

/// A cell before its names are written: there may be a million.
#[derive(Clone, Copy)]
struct Draft<'a> {
    from: (&'a PlanNode, u16),
    to: (&'a PlanNode, u16),
    family: Family,
}

impl Draft<'_> {
    fn fronts(&self) -> (Option<Behaviour>, Option<Behaviour>) {
        (self.from.0.front(self.family), self.to.0.front(self.family))
    }

    fn category(&self) -> Category {
        let (from, to) = self.fronts();
        category(from, to)
    }

    fn kind(&self) -> impl Ord + use<> {
        (self.family, self.fronts())
    }

    fn cell(&self) -> Cell {
        let (from, to) = self.fronts();
        Cell {
            pair: Pair {
                from: self.from.0.name.clone(),
                to: self.to.0.name.clone(),
                from_peer: named(self.from),
                to_peer: named(self.to),
                family: self.family,
            },
            category: category(from, to),
            predicted: predict(from, to),
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
    use crate::nat::theory::Prediction;

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
            ipv6: false,
            peers,
        }
    }

    fn over_ipv4(nodes: &[PlanNode]) -> Wanted<'_> {
        Wanted {
            nodes,
            families: &[Family::Ipv4],
            focus: Focus::Connectivity,
        }
    }

    fn names(cells: &[Cell]) -> Vec<String> {
        cells.iter().map(|cell| cell.pair.to_string()).collect()
    }

    #[test]
    fn one_peer_a_node_goes_by_its_nodes_name() {
        let nodes = [node("a", None, 1), node("b", None, 1)];
        let cells = over_ipv4(&nodes).cells(None);
        assert_eq!(names(&cells), ["a → b", "b → a"]);
    }

    #[test]
    fn peers_of_one_node_are_no_pair_and_all_others_are() {
        let nodes = [
            node("a", None, 2),
            node("b", Some(Behaviour::SYMMETRIC), 1),
            node("c", None, 2),
        ];
        let cells = over_ipv4(&nodes).cells(None);
        let all: BTreeSet<String> = names(&cells).into_iter().collect();
        assert_eq!((cells.len(), all.len()), (16, 16), "2·1·2 + 2·2·2 + 1·2·2");
        assert!(all.contains("a/2 → c/1") && all.contains("b → a/2"));
        assert!(!all.contains("a/1 → a/2"));
        let first: BTreeSet<Pair> = cells[..6].iter().map(|c| c.pair.without_peers()).collect();
        assert_eq!(first.len(), 6, "each pair of nodes before any comes again");
        assert_eq!(reference_cells(&cells).len(), 6);
    }

    #[test]
    fn ipv6_has_cells_of_its_own_between_those_who_speak_it() {
        let mut nodes = [
            node("a", None, 1),
            node("b", Some(Behaviour::SYMMETRIC), 1),
            node("c", Some(Behaviour::PORT_RESTRICTED), 1),
            node("d", None, 1),
        ];
        for node in &mut nodes[..3] {
            node.ipv6 = true;
        }
        let wanted = Wanted {
            families: &[Family::Ipv4, Family::Ipv6],
            ..over_ipv4(&nodes)
        };
        let cells = wanted.cells(None);
        let v6: Vec<&Cell> = cells
            .iter()
            .filter(|c| c.pair.family == Family::Ipv6)
            .collect();
        assert_eq!((cells.len(), v6.len()), (12 + 6, 6));
        let hard = v6.iter().find(|c| c.pair.to_string() == "b → c (IPv6)");
        let hard = hard.unwrap();
        assert_eq!(hard.predicted, Prediction::Always, "never in IPv4");
        assert_eq!(hard.criterion(), "nat_traversed_ipv6");
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
        let (of, kinds) = over_ipv4(&nodes).count();
        assert_eq!((of, kinds), (30 * 900, 4 * 4 - 3));
        let sample = Sample {
            pairs: 100,
            of,
            seed: 7,
        };
        let cells = over_ipv4(&nodes).cells(Some(sample));
        let kind = |name: &str| nodes.iter().find(|n| n.name.as_str() == name).unwrap().nat;
        let covered: BTreeSet<_> = cells
            .iter()
            .map(|c| (kind(c.pair.from.as_str()), kind(c.pair.to.as_str())))
            .collect();
        assert_eq!((cells.len(), covered.len()), (100, kinds));
    }
}
