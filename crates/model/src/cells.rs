//! The cells of a plan: which ordered pairs are tried, and what is known of them
//! before any attempt.

use crate::attempt::{Cell, Pair};
use crate::event::PlanNode;
use crate::nat::theory::{Category, category, predict};
use crate::suite::{Driver, Suite};

/// Every ordered pair of tested nodes that a suite has attempts for, each with its
/// category and prediction by the labels of the plan.
pub fn cells(nodes: &[PlanNode], suite: &Suite) -> Vec<Cell> {
    let tested: Vec<&PlanNode> = nodes.iter().filter(|n| n.tested).collect();
    let pairs = tested
        .iter()
        .flat_map(|from| tested.iter().map(move |to| (*from, *to)));
    pairs
        .filter(|(from, to)| from.name != to.name)
        .map(|(from, to)| Cell {
            pair: Pair {
                from: from.name.clone(),
                to: to.name.clone(),
            },
            category: category(from.end(), to.end()),
            predicted: predict(from.end(), to.end()),
        })
        .filter(|cell| match suite.driver {
            Driver::Matrix => true,
            Driver::NatTraversal => cell.category != Category::Direct,
            Driver::Steps(_) => false,
        })
        .collect()
}
