use std::collections::BTreeMap;

use super::*;
use crate::baseline::Baseline;
use crate::inventory::NodeName;
use crate::measure::{Measured, Values};
use crate::suite::{Suite, built_in};

fn suite() -> SuiteName {
    SuiteName::default()
}

fn taken(measure: &str, to: &str, values: Values) -> Measured {
    Measured {
        suite: suite(),
        measure: measure.into(),
        cycle: 0,
        pass: 0,
        round: 0,
        from: Some(NodeName::new("a")),
        to: Some(NodeName::new(to)),
        conditions: BTreeMap::new(),
        values,
        detail: None,
    }
}

/// So many successes, then so many failures.
fn trials(measure: &str, to: &str, successes: usize, failures: usize) -> Measured {
    let good = std::iter::repeat_n(Trial::Success, successes);
    let trials = good.chain(std::iter::repeat_n(Trial::Failure, failures));
    taken(measure, to, Values::Outcomes(trials.collect()))
}

fn times(to: &str, values: impl IntoIterator<Item = f64>) -> Measured {
    taken(
        "connect_ms",
        to,
        Values::Samples(values.into_iter().collect()),
    )
}

fn yielded(measured: &[Measured]) -> Yield<'_> {
    Yield {
        attempts: Vec::new(),
        measured: measured.iter().collect(),
    }
}

fn connectivity() -> Vec<Suite> {
    built_in().into_iter().take(1).collect()
}

fn verdicts(text: &str, measured: &[Measured]) -> Vec<(Verdict, String)> {
    let expr = Expr::read(text, &connectivity()).unwrap();
    expression::judge(&expr, 400, &yielded(measured))
        .into_iter()
        .map(|row| (row.verdict, row.reason))
        .collect()
}

fn verdict(text: &str, measured: &[Measured]) -> Verdict {
    verdicts(text, measured)
        .into_iter()
        .map(|(verdict, _)| verdict)
        .reduce(Verdict::and)
        .unwrap()
}

/// With criteria for these measures, 99% against 90%.
fn plan(measures: &[&str]) -> Plan {
    let criteria = measures.iter().map(|name| Criterion {
        suite: suite(),
        name: (*name).into(),
        target: 99.0,
        margin: 9.0,
    });
    Plan {
        project: "p".into(),
        module: "m".into(),
        focus: "connectivity".into(),
        criteria_mode: "threshold".into(),
        proof_mode: "all-evidence".into(),
        fleet: "f".into(),
        runs_on: "twin t".into(),
        nodes: Vec::new(),
        families: crate::family::Family::ipv4_alone(),
        sample: None,
        suites: connectivity(),
        expressions: Vec::new(),
        baseline: None,
        criteria: criteria.collect(),
        budget: 100,
        payload_bytes: 1,
        timeout_ms: 1,
        cooloff_seconds: 0,
        regression_tolerance: 0.0,
        soak_seconds: Vec::new(),
        stack: None,
        harness_version: "0".into(),
    }
}

#[test]
fn a_suite_goes_on_while_something_can_still_be_decided() {
    let wants = |plan: &Plan, had: &[Measured]| wants_another_round(plan, &yielded(had), &suite());
    let plan = plan(&["direct", "relay"]);
    let (few, enough) = (trials("direct", "b", 5, 0), trials("relay", "b", 60, 0));
    assert!(wants(&plan, &[few.clone(), enough.clone()]));
    let proved = trials("direct", "b", 60, 0);
    assert!(!wants(&plan, &[proved, enough.clone()]), "all is decided");
    assert!(!wants(&plan, &[enough]), "no round has yielded any");
    let refuted = trials("relay", "b", 0, 20);
    assert!(!wants(&plan, &[few.clone(), refuted.clone()]), "it stands");

    let earlier = [trials("direct", "b", 72, 0)];
    let baseline = Baseline::of("before".into(), &plan.suites, &yielded(&earlier), 0.0, 0.0);
    let compared = Plan {
        baseline: Some(baseline),
        ..plan
    };
    assert!(wants(&compared, &[few, refuted]), "as many as before");
}

#[test]
fn criteria_of_one_name_are_told_apart_by_their_suites() {
    let mut plan = plan(&["direct", "relay"]);
    plan.criteria.push(Criterion {
        suite: SuiteName::new("sync"),
        ..plan.criteria[1].clone()
    });
    let judgement = judge(&plan, &yielded(&[]));
    let names: Vec<&str> = judgement.criteria.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["direct", "connectivity/relay", "sync/relay"]);
    assert!(judgement.criteria[2].is_of(&SuiteName::new("sync"), "relay"));
    assert!(!judgement.criteria[2].is_of(&suite(), "relay"));
}

#[test]
fn what_was_not_measured_is_inconclusive() {
    assert_eq!(verdict("direct >= 10", &[]), Verdict::Inconclusive);
    assert_eq!(
        verdict("p95(connect_ms) <= 9000", &[]),
        Verdict::Inconclusive
    );
}

#[test]
fn a_lucky_sample_is_no_pass() {
    let few = [trials("direct", "b", 5, 0)];
    let found = verdicts("direct >= 90", &few);
    assert_eq!(found[0].0, Verdict::Inconclusive);
    assert!(
        found[0]
            .1
            .contains("more attempts without a failure would settle it"),
        "{}",
        found[0].1
    );
    assert_eq!(
        verdict("direct >= 90", &[trials("direct", "b", 60, 0)]),
        Verdict::Pass
    );
    assert_eq!(
        verdict("direct >= 90", &[trials("direct", "b", 0, 8)]),
        Verdict::Fail
    );
    assert_eq!(
        verdict("direct <= 5", &[trials("direct", "b", 0, 70)]),
        Verdict::Pass
    );
    assert_eq!(
        verdict("direct <= 5", &[trials("direct", "b", 5, 0)]),
        Verdict::Fail
    );
}

#[test]
fn quantiles_pass_by_their_interval_and_not_by_the_sample() {
    let fast = |n: usize| [times("b", std::iter::repeat_n(100.0, n))];
    let p95 = "p95(connect_ms) <= 400";
    assert_eq!(
        verdict(p95, &fast(30)),
        Verdict::Inconclusive,
        "30 cannot bound a p95"
    );
    assert_eq!(verdict(p95, &fast(128)), Verdict::Pass);
    assert_eq!(
        verdict(p95, &[times("b", std::iter::repeat_n(900.0, 128))]),
        Verdict::Fail
    );
    // 122 of 128 within the bound: 95.3%, as luck would have it.
    let lucky = (0..128).map(|i| if i % 22 == 21 { 900.0 } else { 100.0 });
    assert_eq!(verdict(p95, &[times("b", lucky)]), Verdict::Inconclusive);
    assert_eq!(
        verdict("median(connect_ms) >= 50", &fast(20)),
        Verdict::Pass
    );
    let found = verdicts(p95, &fast(30));
    assert!(
        found[0].1.starts_with("42 more samples within the bound"),
        "{}",
        found[0].1
    );
}

#[test]
fn either_is_enough_for_or_and_both_are_needed_for_and() {
    let data = [trials("direct", "b", 100, 0), trials("relay", "b", 0, 100)];
    assert_eq!(verdict("direct >= 90 or relay >= 90", &data), Verdict::Pass);
    assert_eq!(
        verdict("direct >= 90 and relay >= 90", &data),
        Verdict::Fail
    );
    assert_eq!(
        verdict("direct >= 90 and nat_traversed >= 90", &data),
        Verdict::Inconclusive
    );
    assert_eq!(
        verdict("relay >= 90 or nat_traversed >= 90", &data),
        Verdict::Inconclusive
    );
}

#[test]
fn nothing_is_wanted_for_what_is_decided() {
    let wants = |text: &str, data: &[Measured]| -> Vec<String> {
        let expr = Expr::read(text, &connectivity()).unwrap();
        let open = expression::open(&expr, 400, &yielded(data));
        open.into_iter().map(|(c, _)| c.measure.clone()).collect()
    };
    let data = [trials("direct", "b", 100, 0), trials("relay", "b", 0, 100)];
    assert_eq!(
        wants("direct >= 90 or nat_traversed >= 90", &data),
        Vec::<String>::new()
    );
    assert_eq!(
        wants("relay >= 90 and nat_traversed >= 90", &data),
        Vec::<String>::new()
    );
    assert_eq!(
        wants("direct >= 90 and nat_traversed >= 90", &data),
        ["nat_traversed"]
    );
}

#[test]
fn places_that_are_judged_together_are_named_where_they_differ() {
    let mut data: Vec<Measured> = (0..20)
        .map(|i| trials("direct", &format!("b{i}"), 5, 0))
        .collect();
    data.push(trials("direct", "bad", 0, 3));
    let c = Criterion {
        suite: suite(),
        name: "direct".into(),
        target: 99.0,
        margin: 4.0,
    };
    let found = rate(&c, 400, &yielded(&data).trials(&suite(), "direct")).result;
    assert_eq!(found.uneven, ["a → bad: 0 of 3"]);
    let far = [times("near", vec![10.0; 64]), times("far", vec![300.0; 64])];
    let (_, reason) = verdicts("p95(connect_ms) <= 400", &far).remove(0);
    assert!(
        reason.contains("over 2 places, whose medians run from 10.0 (a → near) to 300.0 (a → far)"),
        "{reason}"
    );
}

fn compared(old: &[Measured], new: &[Measured], tolerance: f64) -> (Verdict, Vec<String>) {
    let suites = connectivity();
    let baseline = Baseline::of("before".into(), &suites, &yielded(old), 0.0, tolerance);
    let rows = improvement::judge(&baseline, &suites, &yielded(new));
    let reasons = rows
        .iter()
        .map(|row| format!("{}: {}", row.name, row.reason));
    (improvement::together(&rows), reasons.collect())
}

#[test]
fn improvement_is_proved_or_it_is_none() {
    let clean = [trials("direct", "b", 72, 0)];
    let worse = [trials("direct", "b", 50, 22)];
    assert_eq!(compared(&clean, &clean, 0.0).0, Verdict::Inconclusive);
    assert_eq!(compared(&worse, &clean, 0.0).0, Verdict::Pass);
    assert_eq!(compared(&clean, &worse, 0.0).0, Verdict::Fail);
    assert_eq!(
        compared(&clean, &worse, 50.0).0,
        Verdict::Inconclusive,
        "tolerated"
    );
    let (verdict, reasons) = compared(&clean, &[], 0.0);
    assert_eq!(verdict, Verdict::Inconclusive, "{reasons:?}");
}

#[test]
fn a_regression_is_not_outweighed_by_an_improvement() {
    let spread = |from: f64| (0..30).map(move |i| from + f64::from(i));
    let old = [trials("direct", "b", 72, 0), times("b", spread(100.0))];
    let faster_and_worse = [trials("direct", "b", 40, 32), times("b", spread(20.0))];
    let faster = [trials("direct", "b", 72, 0), times("b", spread(20.0))];
    let slower = [trials("direct", "b", 72, 0), times("b", spread(200.0))];
    assert_eq!(compared(&old, &faster, 0.0).0, Verdict::Pass);
    assert_eq!(compared(&old, &slower, 0.0).0, Verdict::Fail);
    assert_eq!(compared(&old, &faster_and_worse, 0.0).0, Verdict::Fail);
    assert_eq!(compared(&old, &old, 0.0).0, Verdict::Inconclusive);
}

/// The chance of calling a change where there is none, in whichever direction.
#[test]
fn two_runs_of_the_same_stack_seldom_differ() {
    let mut state = 7u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let (runs, mut wrong) = (400, 0);
    for _ in 0..runs {
        let mut run = || {
            let successes = (0..72).filter(|_| draw() < 0.9).count();
            let sample: Vec<f64> = (0..30).map(|_| 50.0 + 20.0 * draw()).collect();
            [
                trials("direct", "b", successes, 72 - successes),
                times("b", sample),
            ]
        };
        let (old, new) = (run(), run());
        wrong += u32::from(compared(&old, &new, 0.0).0 != Verdict::Inconclusive);
    }
    // 5% to be called better, and 5% worse.
    assert!(
        f64::from(wrong) / f64::from(runs) < 0.13,
        "{wrong} of {runs}"
    );
}

#[test]
fn a_regression_is_a_drop_that_is_proved_and_past_the_tolerance() {
    let criteria = [Criterion {
        suite: suite(),
        name: "direct".into(),
        target: 75.0,
        margin: 20.0,
    }];
    let between = |then: (usize, usize), now: (usize, usize), tolerance| {
        let then = [trials("direct", "b", then.0, then.1)];
        let now = [trials("direct", "b", now.0, now.1)];
        regression::between(&criteria, tolerance, &yielded(&then), &yielded(&now))
    };
    let all = (72, 0);
    assert_eq!(between(all, all, 0.0), None, "the same again");
    assert_eq!(between(all, (71, 1), 0.0), None, "chance");
    assert_eq!(between(all, (0, 0), 0.0), None, "no data");
    assert_eq!(between((60, 12), all, 0.0), None, "it rose");
    assert_eq!(
        between(all, (60, 12), 5.0).unwrap(),
        "a regression: direct fell from 72 of 72 to 60 of 72"
    );
    assert_eq!(between(all, (60, 12), 12.0), None, "tolerated");
}
