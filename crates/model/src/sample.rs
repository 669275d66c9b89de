//! Which pairs a matrix tries where all of them are too many.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draws::Draws;

/// A matrix that tries some of its pairs, where it has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Ordered pairs that are tried.
    pub pairs: usize,
    /// The same seed draws the same pairs.
    pub seed: u64,
}

/// Draws `size` of the items, without drawing one twice, and returns their
/// positions in order. `stratum` says which kind an item is of: half of the
/// sample is spread evenly over the kinds, so that each is covered, and half by
/// how many there are.
///
/// Every kind has an item in the sample if `size` is at least their number.
pub fn stratified<T, S: Ord>(
    items: &[T],
    size: usize,
    seed: u64,
    stratum: impl Fn(&T) -> S,
) -> Vec<usize> {
    let mut strata: BTreeMap<S, Vec<usize>> = BTreeMap::new();
    for (position, item) in items.iter().enumerate() {
        strata.entry(stratum(item)).or_default().push(position);
    }
    let sizes: Vec<usize> = strata.values().map(Vec::len).collect();
    let mut draws = Draws::new(seed);
    let mut drawn: Vec<usize> = Vec::new();
    for (mut positions, share) in strata.into_values().zip(shares(&sizes, size)) {
        for next in 0..share {
            let chosen = next + draws.below(positions.len() - next);
            positions.swap(next, chosen);
        }
        drawn.extend(&positions[..share]);
    }
    drawn.sort_unstable();
    drawn
}

/// How many of each stratum; never more than there are.
fn shares(sizes: &[usize], size: usize) -> Vec<usize> {
    let size = size.min(sizes.iter().sum());
    let even = (size / 2 / sizes.len().max(1)).max(1);
    let mut left = size;
    let mut shares: Vec<usize> = Vec::new();
    for stratum in sizes {
        let share = even.min(*stratum).min(left);
        left -= share;
        shares.push(share);
    }
    let open: Vec<usize> = sizes.iter().zip(&shares).map(|(n, s)| n - s).collect();
    let all_open = open.iter().sum::<usize>().max(1);
    let by_size = left;
    for (share, open) in shares.iter_mut().zip(&open) {
        let more = by_size * open / all_open;
        *share += more;
        left -= more;
    }
    // What rounding left over: one each, the largest first.
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(sizes[*i]));
    for i in order {
        if left > 0 && shares[i] < sizes[i] {
            shares[i] += 1;
            left -= 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rare_kinds_are_covered() {
        let items: Vec<u32> = (0..10_000).map(|i| u32::from(i % 500 == 0)).collect();
        let drawn = stratified(&items, 100, 7, |kind| *kind);
        let rare = drawn.iter().filter(|i| items[**i] == 1).count();
        assert_eq!(drawn.len(), 100);
        assert_eq!(rare, 20, "all there are, though one in 500 would be none");
    }

    #[test]
    fn another_seed_draws_other_items() {
        let items: Vec<u32> = (0..1000).collect();
        let draw = |seed| stratified(&items, 50, seed, |i| i % 3);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    proptest! {
        #[test]
        fn as_many_as_asked_for_each_once_and_every_kind(
            kinds in prop::collection::vec(0u8..6, 0..300), size in 0usize..400, seed: u64,
        ) {
            let drawn = stratified(&kinds, size, seed, |kind| *kind);
            prop_assert_eq!(drawn.len(), size.min(kinds.len()));
            prop_assert!(drawn.is_sorted_by(|a, b| a < b));
            let all: BTreeSet<u8> = kinds.iter().copied().collect();
            let covered: BTreeSet<u8> = drawn.iter().map(|i| kinds[*i]).collect();
            prop_assert!(size < all.len() || covered == all, "{all:?} and {covered:?}");
        }
    }
}
