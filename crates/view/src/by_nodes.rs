//! Cells of peers put together by their nodes, so that a grid stays as large as the
//! fleet, however many peers its nodes have.

use std::collections::BTreeMap;

use model::attempt::Pair;
use model::family::Family;
use model::proof::MatrixCell;
use model::suite::SuiteName;

/// One cell of each suite for each ordered pair of nodes: the counts of all its pairs
/// of peers, the median of their connect times, and the path of the one that did worst.
pub fn by_nodes(cells: &[MatrixCell]) -> Vec<MatrixCell> {
    let mut together: BTreeMap<(&SuiteName, Pair), Vec<&MatrixCell>> = BTreeMap::new();
    for cell in cells {
        let nodes = (&cell.suite, cell.pair.without_peers());
        together.entry(nodes).or_default().push(cell);
    }
    together
        .into_iter()
        .filter_map(|((_, pair), cells)| put_together(pair, &cells))
        .collect()
}

/// The cells of each address family, in order; IPv4's, empty, where there are none.
pub fn by_family(cells: &[MatrixCell]) -> BTreeMap<Family, Vec<MatrixCell>> {
    let mut families: BTreeMap<Family, Vec<MatrixCell>> = BTreeMap::new();
    for cell in cells {
        let of_family = families.entry(cell.pair.family).or_default();
        of_family.push(cell.clone());
    }
    if families.is_empty() {
        families.insert(Family::Ipv4, Vec::new());
    }
    families
}

fn put_together(pair: Pair, cells: &[&MatrixCell]) -> Option<MatrixCell> {
    let worst = cells.iter().min_by(|a, b| share(a).total_cmp(&share(b)))?;
    let mut times: Vec<f64> = cells.iter().filter_map(|c| c.connect_ms).collect();
    times.sort_by(f64::total_cmp);
    Some(MatrixCell {
        pair,
        attempts: cells.iter().map(|c| c.attempts).sum(),
        successes: cells.iter().map(|c| c.successes).sum(),
        connect_ms: times.get(times.len() / 2).copied(),
        ..(*worst).clone()
    })
}

/// What was not tried looks no worse than what succeeded.
fn share(cell: &MatrixCell) -> f64 {
    match cell.attempts {
        0 => 1.0,
        attempts => cell.successes as f64 / attempts as f64,
    }
}

#[cfg(test)]
mod tests {
    use model::attempt::ObservedPath;
    use model::inventory::NodeName;
    use model::nat::theory::{Category, Prediction};
    use model::protocol::ClaimedPath;

    use super::*;

    fn cell(from_peer: u16, successes: u64, observed: ObservedPath, ms: f64) -> MatrixCell {
        MatrixCell {
            suite: SuiteName::default(),
            pair: Pair {
                from_peer: Some(from_peer),
                ..Pair::of_nodes(NodeName::new("a"), NodeName::new("b"))
            },
            category: Category::NatTraversed,
            predicted: Prediction::Always,
            observed,
            claimed: ClaimedPath::Direct,
            attempts: 2,
            successes,
            reference: None,
            connect_ms: Some(ms),
            failure: None,
        }
    }

    #[test]
    fn peers_of_two_nodes_are_one_cell_that_shows_the_worst() {
        let cells = [
            cell(1, 2, ObservedPath::Direct, 30.0),
            cell(2, 0, ObservedPath::None, 90.0),
            cell(3, 2, ObservedPath::Direct, 50.0),
        ];
        let together = by_nodes(&cells);
        assert_eq!(together.len(), 1);
        let one = &together[0];
        assert_eq!(one.pair.to_string(), "a → b");
        assert_eq!((one.successes, one.attempts), (4, 6));
        assert_eq!(
            (one.observed, one.connect_ms),
            (ObservedPath::None, Some(50.0))
        );
    }
}
