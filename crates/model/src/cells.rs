//! The cells of a plan: which ordered pairs are tried, and what is known of them
//! before any attempt.

use crate::attempt::{Cell, Pair};
use crate::config::{Choice, Focus};
use crate::event::{Plan, PlanNode};
use crate::nat::theory::{Category, category, predict};

/// Every ordered pair of tested nodes that a focus asks about, each with its
/// category and prediction by the labels of the plan.
pub fn cells(nodes: &[PlanNode], focus: Focus) -> Vec<Cell> {
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
        .filter(|cell| focus != Focus::NatTraversal || cell.category != Category::Direct)
        .collect()
}

/// The focus that a plan was made with.
pub fn focus_of(plan: &Plan) -> Focus {
    Focus::parse(&plan.focus).unwrap_or(Focus::Connectivity)
}
