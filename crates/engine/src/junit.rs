//! `junit.xml`: what a CI system shows of a run.
//!
//! One suite holds the criteria, and one each category's cells. What no attempt
//! settled is an error, not a failure: nothing was learnt about the stack.

use std::collections::BTreeMap;

use model::attempt::{Attempt, Counted, Matrix};
use model::judge;
use model::proof::{CriterionResult, MatrixCell, Proof};
use model::stats::Verdict;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

pub fn render(proof: &Proof) -> String {
    let mut report = Report::new(format!("{} {}", proof.project, proof.focus));
    report.add_test_suite(criteria(proof));
    let mut cells: BTreeMap<String, Vec<&MatrixCell>> = BTreeMap::new();
    for cell in &proof.matrix {
        let criterion = cell.pair.family.measure(&cell.category.to_string());
        cells.entry(criterion).or_default().push(cell);
    }
    for (category, cells) in cells {
        let mut suite = TestSuite::new(format!("cells.{category}"));
        for cell in cells {
            suite.add_test_case(of_cell(proof, cell));
        }
        report.add_test_suite(suite);
    }
    report.to_string().unwrap_or_default()
}

fn criteria(proof: &Proof) -> TestSuite {
    let mut suite = TestSuite::new("criteria");
    for criterion in &proof.criteria {
        let status = match criterion.verdict {
            Verdict::Pass => TestCaseStatus::success(),
            Verdict::Fail => failed(NonSuccessKind::Failure, "refuted", &criterion.reason),
            Verdict::Inconclusive => {
                failed(NonSuccessKind::Error, "inconclusive", &criterion.reason)
            }
        };
        let mut case = TestCase::new(criterion.name.clone(), status);
        case.set_classname("criteria");
        case.set_system_out(counts(criterion));
        suite.add_test_case(case);
    }
    let status = match proof.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => failed(NonSuccessKind::Failure, "FAIL", &proof.summary),
        Verdict::Inconclusive => failed(NonSuccessKind::Error, "INCONCLUSIVE", &proof.summary),
    };
    let mut verdict = TestCase::new("verdict", status);
    verdict.set_classname("criteria");
    suite.add_test_case(verdict);
    suite
}

/// `72 of 72, 95% interval 95.0 to 100.0, target 99 - 4`
fn counts(c: &CriterionResult) -> String {
    let interval = c.interval.map_or("no data".into(), |[low, high]| {
        format!("95% interval {low:.1} to {high:.1}")
    });
    format!(
        "{} of {}, {interval}, target {} - {}",
        c.successes, c.attempts, c.target, c.margin
    )
}

/// A cell fails where an attempt of the last TEST failed: the criterion says
/// whether that matters.
fn of_cell(proof: &Proof, cell: &MatrixCell) -> TestCase {
    let status = match (&cell.failure, cell.attempts) {
        (None, 0) => failed(NonSuccessKind::Error, "not tried", "no attempt was counted"),
        (None, _) => TestCaseStatus::success(),
        (Some(reason), 0) => failed(NonSuccessKind::Error, "infrastructure", reason),
        (Some(reason), _) => {
            let message = format!("{} of {} succeeded", cell.successes, cell.attempts);
            let mut status = failed(NonSuccessKind::Failure, &message, reason);
            status.set_description(explanation(proof, cell, reason));
            status
        }
    };
    let mut case = TestCase::new(cell.pair.to_string(), status);
    case.set_classname(format!("cells.{}", cell.category));
    if let Some(ms) = cell.connect_ms {
        case.set_time(std::time::Duration::from_secs_f64(ms.max(0.0) / 1000.0));
    }
    case
}

fn failed(kind: NonSuccessKind, what: &str, reason: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(format!("{what}: {reason}"));
    status
}

fn explanation(proof: &Proof, cell: &MatrixCell, reason: &str) -> String {
    let mut text = format!(
        "{reason}\ntheory: {}, observed: {}, claimed: {}\n",
        cell.predicted, cell.observed, cell.claimed
    );
    let failed = proof.attempts.iter().filter(|a| {
        a.start.matrix == Matrix::Stack
            && a.start.cell.pair == cell.pair
            && a.verdict() == Counted::Failure
    });
    failed.for_each(|a| describe(&mut text, a));
    text
}

fn describe(text: &mut String, attempt: &Attempt) {
    let why = judge::why(attempt).unwrap_or_default();
    text.push_str(&format!("{}: {why}\n", attempt.start.id));
    if let Some(explained) = &attempt.explanation {
        text.push_str(&format!("  {}\n", explained.sentence));
    }
    for rung in &attempt.rungs {
        let what = rung
            .failure
            .as_ref()
            .map_or_else(|| "connected".to_owned(), ToString::to_string);
        text.push_str(&format!(
            "  {} {:.0} of {} ms: {what}\n",
            rung.rung, rung.elapsed_ms, rung.timeout_ms
        ));
    }
}
