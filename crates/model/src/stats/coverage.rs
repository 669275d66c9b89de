//! A simulation: how often the sequential test is wrong, and how many attempts it
//! takes against a test of fixed size. `docs/judging.md` shows what comes out.

use super::*;

const RUNS: u32 = 100_000;

const DOCUMENT: &str = include_str!("../../../../docs/judging.md");

/// Fixed, so that the document can be compared with it.
struct Draw(u64);

impl Draw {
    /// Between 0 and 1, by xorshift64*.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How often a true rate is accepted, and the mean number of attempts.
fn simulate(c: &Criterion, true_percent: f64, seed: u64) -> (u32, f64) {
    let mut draw = Draw(seed);
    let (mut accepted, mut attempts) = (0, 0u64);
    for _ in 0..RUNS {
        let outcomes = std::iter::repeat_with(|| {
            attempts += 1;
            draw.next() < true_percent / 100.0
        });
        accepted += u32::from(c.run(outcomes.take(100_000)) == Standing::Accepted);
    }
    (accepted, attempts as f64 / f64::from(RUNS))
}

/// The smallest sample that keeps both error rates when it is looked at once.
fn fixed_size(c: &Criterion) -> u64 {
    let (good, bad) = (c.target / 100.0, (c.target - c.margin) / 100.0);
    let keeps = |n: u64| {
        // As many failures as are still accepted, so that a bad rate seldom is.
        let most = (0..=n)
            .take_while(|f| at_most_so_many(*f, n, 1.0 - bad) <= ERROR_RATE)
            .last();
        most.is_some_and(|most| 1.0 - at_most_so_many(most, n, 1.0 - good) <= ERROR_RATE)
    };
    (1..2000).find(|n| keeps(*n)).unwrap()
}

/// With what the simulation itself may be wrong by: 95%, one-sided.
fn at_most_5_percent(wrong: u32) -> bool {
    interval(u64::from(wrong), u64::from(RUNS), 0.90).unwrap()[1] <= 5.0
}

#[test]
fn error_rates_are_kept_each_way_and_the_document_says_what_it_costs() {
    let mut lacking = Vec::new();
    for (name, target, margin) in [
        ("direct", 99.0, 4.0),
        ("nat_traversed", 85.0, 10.0),
        ("relay", 100.0, 5.0),
    ] {
        let c = Criterion {
            suite: SuiteName::default(),
            name: name.into(),
            target,
            margin,
        };
        let (right, good_attempts) = simulate(&c, target, 1);
        let (accepted, bad_attempts) = simulate(&c, target - margin, 2);
        let refused = RUNS - right;
        assert!(at_most_5_percent(refused), "{name}: refuses {refused}");
        assert!(at_most_5_percent(accepted), "{name}: accepts {accepted}");
        let percent = |count: u32| 100.0 * f64::from(count) / f64::from(RUNS);
        let row = format!(
            "| `{name}` | {target} − {margin} | {:.1}% | {:.1}% | {good_attempts:.0} | {bad_attempts:.0} | {} |",
            percent(refused),
            percent(accepted),
            fixed_size(&c)
        );
        if !DOCUMENT.contains(&row) {
            lacking.push(row);
        }
    }
    assert!(
        lacking.is_empty(),
        "docs/judging.md lacks these rows:\n{}",
        lacking.join("\n")
    );
}
