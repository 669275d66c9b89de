//! Which cell is tried next: in order, and with no node in more attempts at once
//! than allowed.

use std::collections::{BTreeMap, HashMap, VecDeque};

use model::attempt::{Cell, Pair};
use model::inventory::NodeName;

/// How many attempts may run at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub total: usize,
    pub per_node: usize,
}

pub struct Schedule {
    /// The waiting cells of each ordered pair of nodes, by the place of the first.
    lines: BTreeMap<usize, VecDeque<(usize, Cell)>>,
    limits: Limits,
    running: u32,
    busy: HashMap<NodeName, usize>,
}

impl Schedule {
    pub fn new(cells: impl IntoIterator<Item = Cell>, limits: Limits) -> Self {
        let mut lines: HashMap<(NodeName, NodeName), VecDeque<(usize, Cell)>> = HashMap::new();
        for (place, cell) in cells.into_iter().enumerate() {
            let nodes = (cell.pair.from.clone(), cell.pair.to.clone());
            lines.entry(nodes).or_default().push_back((place, cell));
        }
        let by_first = |line: VecDeque<(usize, Cell)>| Some((line.front()?.0, line));
        Self {
            lines: lines.into_values().filter_map(by_first).collect(),
            limits,
            running: 0,
            busy: HashMap::new(),
        }
    }

    /// The first cell whose two nodes both have room, and how many run with it.
    /// Cells that are not wanted when their turn comes are dropped.
    pub fn next(&mut self, is_wanted: impl Fn(&Cell) -> bool) -> Option<(Cell, u32)> {
        if self.running as usize >= self.limits.total {
            return None;
        }
        let cell = loop {
            let cell = self.first_with_room()?;
            if is_wanted(&cell) {
                break cell;
            }
        };
        for node in cell.pair.nodes() {
            *self.busy.entry(node.clone()).or_default() += 1;
        }
        self.running += 1;
        Some((cell, self.running))
    }

    /// Looks at no more than one cell of each pair of nodes, however many wait.
    fn first_with_room(&mut self) -> Option<Cell> {
        let has_room =
            |node: &NodeName| self.busy.get(node).copied().unwrap_or(0) < self.limits.per_node;
        let may_run = |(_, cell): &(usize, Cell)| cell.pair.nodes().into_iter().all(&has_room);
        let (place, _) = self
            .lines
            .iter()
            .find(|(_, line)| line.front().is_some_and(may_run))?;
        let place = *place;
        let mut line = self.lines.remove(&place)?;
        let (_, cell) = line.pop_front()?;
        if let Some((next, _)) = line.front() {
            self.lines.insert(*next, line);
        }
        Some(cell)
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
        std::iter::from_fn(|| schedule.next(|_| true))
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
        let at_once: Vec<u32> = std::iter::from_fn(|| schedule.next(|_| true))
            .map(|(_, n)| n)
            .collect();
        assert_eq!(at_once, [1, 2]);
    }

    #[test]
    fn what_is_not_wanted_any_more_has_no_turn() {
        let cells = [cell("a", "b"), cell("a", "b"), cell("c", "d")];
        let limits = Limits {
            total: 9,
            per_node: 9,
        };
        let mut schedule = Schedule::new(cells, limits);
        let (first, _) = schedule
            .next(|cell| cell.pair.from.as_str() == "c")
            .unwrap();
        assert_eq!(first.pair.to_string(), "c → d");
        assert_eq!(schedule.next(|_| true), None, "both of a → b were dropped");
    }

    /// 300 peers on ten nodes have 81,000 pairs.
    #[test]
    fn many_cells_cost_little_each() {
        let nodes: Vec<String> = (0..10).map(|i| format!("n{i}")).collect();
        let pairs = nodes
            .iter()
            .flat_map(|from| nodes.iter().map(move |to| (from, to)))
            .filter(|(from, to)| from != to);
        let cells: Vec<Cell> = pairs.map(|(from, to)| cell(from, to)).collect();
        let many = cells.iter().cycle().take(81_000).cloned();
        let limits = Limits {
            total: 4,
            per_node: 2,
        };
        let mut schedule = Schedule::new(many, limits);
        let began = std::time::Instant::now();
        let mut done = 0;
        while let Some((cell, _)) = schedule.next(|_| true) {
            schedule.ended(&cell.pair);
            done += 1;
        }
        assert_eq!(done, 81_000);
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
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
            running
                .extend(std::iter::from_fn(|| schedule.next(|_| true)).map(|(cell, _)| cell.pair));
            let Some(pair) = running.pop_front() else {
                break;
            };
            schedule.ended(&pair);
            done += 1;
        }
        assert_eq!(done, cells.len());
    }
}
