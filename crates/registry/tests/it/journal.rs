//! Journals as an engine would write them.

use jiff::{SignedDuration, Timestamp};
use model::attempt::{
    Attempt, AttemptStart, Cell, Endpoints, Matrix, Observed, ObservedPath, Outcome, Pair,
};
use model::event::{Event, Plan, PlanNode, StopCause};
use model::inventory::NodeName;
use model::nat::theory::{Category, Prediction};
use model::protocol::{AttemptId, ClaimedPath};
use model::run::State;
use model::stats::{Criterion, Verdict};
use serde_json::json;

/// Whose `n`-th line is line `n`.
pub fn lines(project: &str, fleet: &str, attempts: u32) -> Vec<String> {
    let mut events = tested(plan(project, fleet), attempts);
    events.push(Event::Completed);
    numbered(&events)
}

/// Of a run that is parked for a person.
pub fn parked(project: &str, fleet: &str) -> Vec<String> {
    let plan = Plan {
        proof_mode: "manual-verify".into(),
        ..plan(project, fleet)
    };
    let mut events = tested(plan, 80);
    events.push(Event::Stopped {
        cause: StopCause::Unconfirmed,
        detail: "all tests passed".into(),
    });
    numbered(&events)
}

fn tested(plan: Plan, attempts: u32) -> Vec<Event> {
    let mut events = vec![Event::Confirmed(Box::new(plan))];
    for state in [State::Setup, State::BuildLocal, State::Deploy] {
        events.push(Event::Entered { state });
        events.push(Event::Finished { state });
    }
    events.push(Event::Entered { state: State::Test });
    for position in 0..attempts {
        let start = start(position);
        events.push(Event::AttemptStarted(start.clone()));
        events.push(Event::AttemptFinished(Box::new(success(start))));
    }
    events.push(Event::Judged {
        cycle: 0,
        pass: 0,
        verdict: Verdict::Pass,
        summary: "direct proved".into(),
    });
    events
}

fn numbered(events: &[Event]) -> Vec<String> {
    let began = Timestamp::from_second(1_700_000_000).unwrap();
    let at = |seq: usize| began + SignedDuration::from_secs(seq as i64);
    events
        .iter()
        .enumerate()
        .map(|(seq, event)| {
            let mut line = json!({"seq": seq, "prev": "00", "at": at(seq)});
            let fields = serde_json::to_value(event).unwrap();
            for (name, value) in fields.as_object().unwrap() {
                line[name] = value.clone();
            }
            line.to_string()
        })
        .collect()
}

pub fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn node(name: &str) -> PlanNode {
    PlanNode {
        name: NodeName::new(name),
        role: "test".into(),
        region: "here".into(),
        place: None,
        tested: true,
        nat: None,
        expected_success: None,
        peers: 1,
        families: model::family::Family::ipv4_alone(),
        udp: model::nat::Udp::default(),
        inbound: model::nat::Inbound::default(),
    }
}

fn plan(project: &str, fleet: &str) -> Plan {
    Plan {
        project: project.into(),
        module: "quic-test".into(),
        focus: "connectivity".into(),
        criteria_mode: "threshold".into(),
        proof_mode: "logs".into(),
        fleet: fleet.into(),
        runs_on: "twin t".into(),
        nodes: vec![node("a"), node("b")],
        families: model::family::Family::ipv4_alone(),
        sample: None,
        suites: model::suite::built_in(),
        expressions: Vec::new(),
        baseline: None,
        criteria: vec![Criterion {
            suite: model::suite::SuiteName::default(),
            name: "direct".into(),
            target: 99.0,
            margin: 4.0,
        }],
        budget: 200,
        payload_bytes: 1,
        timeout_ms: 1,
        cooloff_seconds: 0,
        regression_tolerance: 0.0,
        soak_seconds: Vec::new(),
        stack: None,
        harness_version: "0".into(),
    }
}

fn start(position: u32) -> AttemptStart {
    AttemptStart {
        id: AttemptId(format!("s-{position}")),
        matrix: Matrix::Stack,
        suite: model::suite::SuiteName::default(),
        cycle: 0,
        pass: 0,
        position,
        cell: Cell {
            pair: Pair::of_nodes(NodeName::new("a"), NodeName::new("b")),
            category: Category::Direct,
            predicted: Prediction::Always,
        },
    }
}

fn success(start: AttemptStart) -> Attempt {
    Attempt {
        start,
        outcome: Outcome::Success,
        observed: Observed {
            path: ObservedPath::Direct,
            via: None,
            forth_bytes: 1,
            back_bytes: 1,
            witness: None,
            unmeasured: None,
        },
        claimed: ClaimedPath::Direct,
        rungs: Vec::new(),
        connect_ms: Some(20.0),
        at_once: 1,
        endpoints: Endpoints::default(),
        explanation: None,
    }
}
