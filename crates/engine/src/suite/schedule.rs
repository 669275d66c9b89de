//! Which cell is tried next: in order, and with no node in more attempts at once
//! than allowed.

use std::collections::{HashMap, VecDeque};

use model::attempt::{Cell, Pair};
use model::inventory::NodeName;

/// How many attempts may run at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub total: usize,
    pub per_node: usize,
}

pub struct Schedule {
    pub waiting: VecDeque<Cell>,
    limits: Limits,
    running: u32,
    busy: HashMap<NodeName, usize>,
}

impl Schedule {
    pub fn new(cells: impl IntoIterator<Item = Cell>, limits: Limits) -> Self {
        Self {
            waiting: cells.into_iter().collect(),
            limits,
            running: 0,
            busy: HashMap::new(),
        }
    }

    /// The first cell whose two nodes both have room, and how many run with it.
    pub fn next(&mut self) -> Option<(Cell, u32)> {
        if self.running as usize >= self.limits.total {
            return None;
        }
        let has_room =
            |node: &NodeName| self.busy.get(node).copied().unwrap_or(0) < self.limits.per_node;
        let index = self
            .waiting
            .iter()
            .position(|cell| cell.pair.nodes().into_iter().all(&has_room))?;
        let cell = self.waiting.remove(index)?;
        for node in cell.pair.nodes() {
            *self.busy.entry(node.clone()).or_default() += 1;
        }
        self.running += 1;
        Some((cell, self.running))
    }

    pub fn ended(&mut self, pair: &Pair) {
        self.running = self.running.saturating_sub(1);
        for node in pair.nodes() {
            if let Some(count) = self.busy.get_mut(node) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::nat::theory::{Category, Prediction};

    use super::*;

    fn cell(from: &str, to: &str) -> Cell {
        Cell {
            pair: Pair::of_nodes(NodeName::new(from), NodeName::new(to)),
            category: Category::Direct,
            predicted: Prediction::Always,
        }
    }

    fn names(schedule: &mut Schedule) -> Vec<String> {
        std::iter::from_fn(|| schedule.next())
            .map(|(cell, _)| cell.pair.to_string())
            .collect()
    }

    #[test]
    fn no_node_is_in_more_attempts_than_allowed() {
        let cells = [
            cell("a", "b"),
            cell("a", "c"),
            cell("d", "a"),
            cell("d", "c"),
        ];
        let mut schedule = Schedule::new(
            cells,
            Limits {
                total: 9,
                per_node: 1,
            },
        );
        assert_eq!(names(&mut schedule), ["a → b", "d → c"]);
        schedule.ended(&cell("a", "b").pair);
        assert_eq!(
            names(&mut schedule),
            Vec::<String>::new(),
            "c and d are busy"
        );
        schedule.ended(&cell("d", "c").pair);
        assert_eq!(names(&mut schedule), ["a → c"]);
    }

    #[test]
    fn no_more_run_at_once_than_allowed() {
        let cells = [cell("a", "b"), cell("c", "d"), cell("e", "f")];
        let mut schedule = Schedule::new(
            cells,
            Limits {
                total: 2,
                per_node: 9,
            },
        );
        let at_once: Vec<u32> = std::iter::from_fn(|| schedule.next())
            .map(|(_, n)| n)
            .collect();
        assert_eq!(at_once, [1, 2]);
    }

    #[test]
    fn every_cell_has_its_turn() {
        let nodes = ["a", "b", "c", "d", "e"];
        let pairs = nodes
            .iter()
            .flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
        let cells: Vec<Cell> = pairs
            .filter(|(a, b)| a != b)
            .map(|(a, b)| cell(a, b))
            .collect();
        let mut schedule = Schedule::new(
            cells.clone(),
            Limits {
                total: 3,
                per_node: 2,
            },
        );
        let (mut running, mut done) = (VecDeque::new(), 0);
        loop {
            running.extend(std::iter::from_fn(|| schedule.next()).map(|(cell, _)| cell.pair));
            let Some(pair) = running.pop_front() else {
                break;
            };
            schedule.ended(&pair);
            done += 1;
        }
        assert_eq!(done, cells.len());
    }
}
