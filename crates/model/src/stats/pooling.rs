//! Whether cells that are judged together belong together.

use statrs::distribution::{DiscreteCDF, Hypergeometric};

use super::compare::Proportion;

/// The family-wise error of naming a cell that is like the others.
const ERROR: f64 = 0.05;

/// Which cells fail more often than all others together: Fisher's exact test of
/// each against the rest, one-sided, with Holm's correction for their number.
pub fn apart(cells: &[Proportion]) -> Vec<usize> {
    let all = cells.iter().fold(
        Proportion {
            successes: 0,
            trials: 0,
        },
        |sum, cell| Proportion {
            successes: sum.successes + cell.successes,
            trials: sum.trials + cell.trials,
        },
    );
    let mut by_p: Vec<(usize, f64)> = cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| cell.trials > 0 && cell.trials < all.trials)
        .map(|(index, cell)| (index, p_fewer(*cell, all)))
        .collect();
    by_p.sort_by(|a, b| a.1.total_cmp(&b.1));
    let tested = by_p.len();
    let named = by_p
        .into_iter()
        .enumerate()
        .take_while(|(rank, (_, p))| *p <= ERROR / (tested - rank) as f64);
    let mut found: Vec<usize> = named.map(|(_, (index, _))| index).collect();
    found.sort_unstable();
    found
}

/// The probability of so few successes in the cell, had it been drawn from all.
fn p_fewer(cell: Proportion, all: Proportion) -> f64 {
    Hypergeometric::new(all.trials, all.successes, cell.trials)
        .map_or(1.0, |d| d.cdf(cell.successes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(successes: u64, trials: u64) -> Proportion {
        Proportion { successes, trials }
    }

    /// Fisher's tea: of 8 cups she finds 3 of 4; one-sided 0.2429, and 1 of 4 the
    /// other way round.
    #[test]
    fn the_test_is_fishers() {
        let p = p_fewer(of(1, 4), of(4, 8));
        assert!((p - 17.0 / 70.0).abs() < 1e-9, "{p}");
    }

    #[test]
    fn a_cell_that_always_fails_is_named_and_a_single_failure_is_not() {
        let mut cells = vec![of(3, 3); 20];
        cells[7] = of(0, 3);
        assert_eq!(apart(&cells), [7]);
        cells[7] = of(2, 3);
        assert_eq!(apart(&cells), Vec::<usize>::new());
        assert_eq!(apart(&[of(5, 5)]), Vec::<usize>::new());
        assert_eq!(apart(&[]), Vec::<usize>::new());
    }
}
