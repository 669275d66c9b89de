use serde_json::json;

use super::*;
use crate::event::Event;

fn event(value: serde_json::Value) -> Event {
    serde_json::from_value(value).unwrap()
}

/// One cell a → b, tried once for each outcome: `Some(ms)` is a success.
fn run(fleet: &str, outcomes: &[Option<f64>]) -> Run {
    let mut events = vec![json!({
        "event": "confirmed", "project": "p", "module": "m", "focus": "connectivity",
        "criteria_mode": "threshold", "proof_mode": "logs", "fleet": fleet, "runs_on": "twin t",
        "nodes": [], "criteria": [{ "name": "direct", "target": 99.0, "margin": 9.0 }],
        "budget": 400, "payload_bytes": 1, "timeout_ms": 1, "cooloff_seconds": 0,
        "soak_seconds": [], "stack": null, "harness_version": "0"
    })];
    for state in ["SETUP", "BUILD_LOCAL", "DEPLOY", "TEST"] {
        events.push(json!({ "event": "entered", "state": state }));
    }
    for (position, connect_ms) in outcomes.iter().enumerate() {
        let start = json!({
            "id": format!("stack-{position}"), "matrix": "stack", "cycle": 0, "pass": 0,
            "position": position, "from": "a", "to": "b", "category": "direct", "predicted": "always"
        });
        let mut started = start.clone();
        started["event"] = "attempt_started".into();
        events.push(started);
        let mut finished = start;
        finished["event"] = "attempt_finished".into();
        finished["outcome"] = match connect_ms {
            Some(_) => json!({ "class": "success" }),
            None => {
                json!({ "class": "stack_failure", "reason": "timeout", "detail": "nothing came" })
            }
        };
        finished["observed"] =
            json!({ "path": "direct", "via": null, "forth_bytes": 1, "back_bytes": 1 });
        finished["claimed"] = "direct".into();
        finished["rungs"] = json!([]);
        finished["connect_ms"] = json!(connect_ms);
        finished["at_once"] = 3.into();
        finished["endpoints"] = json!({ "caller": [], "callee": [] });
        events.push(finished);
    }
    let mut run = Run::default();
    for value in events {
        run.apply(Timestamp::UNIX_EPOCH, &event(value)).unwrap();
    }
    run
}

#[test]
fn a_cell_that_fails_now_is_named_with_its_reason() {
    let before = run("f", &[Some(10.0); 40]);
    let after = run("f", &[None; 40]);
    let comparison = compare(&before, &after);
    let criterion = &comparison.criteria[0];
    assert!(criterion.apart);
    assert_eq!(criterion.before.as_ref().unwrap().successes, 40);
    assert_eq!(criterion.after.as_ref().unwrap().verdict, Verdict::Fail);
    let cell = &comparison.cells[0];
    assert_eq!(cell.before, "direct, 40 of 40");
    assert!(cell.after.contains("nothing came"), "{cell:?}");
    assert!(comparison.caveats.is_empty());
    // The same the other way round is a change as well.
    assert_eq!(compare(&after, &before).cells[0].after, "direct, 40 of 40");
}

#[test]
fn one_failure_more_is_no_change_of_a_cell_and_proves_nothing() {
    let before = run("f", &[Some(10.0); 40]);
    let mut outcomes = [Some(10.0); 40];
    outcomes[3] = None;
    let comparison = compare(&before, &run("f", &outcomes));
    assert!(!comparison.criteria[0].apart);
    assert!(comparison.cells.is_empty());
}

#[test]
fn medians_are_of_the_times_that_were_measured() {
    let before = run("f", &[Some(30.0), Some(10.0), None, Some(20.0)]);
    let after = run("f", &[Some(10.0), Some(20.0)]);
    let connect = &compare(&before, &after).connect_ms[0];
    let median = |ms, n| Some(Median { ms, n, at_once: 3 });
    assert_eq!(
        (connect.before, connect.after),
        (median(20.0, 3), median(15.0, 2))
    );
}

#[test]
fn what_was_not_asked_alike_is_said() {
    let comparison = compare(&run("f", &[]), &run("g", &[]));
    assert_eq!(comparison.caveats, ["the fleet differs: f, then g"]);
    assert_eq!(
        comparison.criteria[0].before.as_ref().unwrap().interval,
        None
    );
}
