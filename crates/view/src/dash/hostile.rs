//! Whatever a run or a peer calls itself, it stays text on every page.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::event::PlanNode;
use model::inventory::NodeName;
use model::proof::CriterionResult;
use model::publication::{RunId, RunSummary};
use model::registration::{Peer, Registration};
use model::run::State;
use model::stats::Verdict;

use super::*;

const HOSTILE: &str = "\"><script>alert(1)</script>'&";

fn summary() -> RunSummary {
    let said = || HOSTILE.to_owned();
    RunSummary {
        run: RunId::new("p", "t").unwrap(),
        fleet: said(),
        project: said(),
        focus: said(),
        runs_on: said(),
        state: State::Wait1Hr,
        entered_at: None,
        started_at: Timestamp::from_second(10).ok(),
        ended_at: None,
        wait_until: Timestamp::from_second(100).ok(),
        stopped: Some(said()),
        cycle: 0,
        passed: 1,
        tests: 3,
        verdicts: vec![Verdict::Pass],
        standing: Verdict::Pass,
        standing_summary: said(),
        criteria: vec![CriterionResult {
            name: said(),
            target: 99.0,
            margin: 4.0,
            attempts: 72,
            successes: 72,
            infrastructure_failures: 1,
            interval: Some([95.0, 100.0]),
            verdict: Verdict::Pass,
            reason: said(),
            ..CriterionResult::default()
        }],
        attempts: 72,
        nodes_reached: 1,
        nodes: 2,
        stack: Some(said()),
        last_event: said(),
        last_at: None,
    }
}

fn peer() -> Peer {
    let said = || HOSTILE.to_owned();
    Peer {
        peer: said(),
        fleet: said(),
        registration: Registration {
            project: said(),
            node: said(),
            tester: said(),
            stack_version: said(),
            digest: said(),
            pid: 1,
            local: None,
        },
        nat: Some(said()),
        registered_at: 0,
        last_seen: 0,
        alive: true,
        metrics: BTreeMap::from([(said(), 1.0)]),
    }
}

#[test]
fn the_overview_escapes_runs_findings_and_nodes() {
    let run = summary();
    let findings = vec![HOSTILE.to_owned()];
    let node = NodeHealth {
        name: HOSTILE.into(),
        region: HOSTILE.into(),
        nat: Some(HOSTILE.into()),
        degraded: Some(HOSTILE.into()),
        known: 1,
        ..NodeHealth::default()
    };
    let loops = [Loop {
        run: &run,
        findings: &findings,
        degraded: vec![(HOSTILE.into(), HOSTILE.into())],
    }];
    let page = overview(&loops, &[node], Timestamp::from_second(40).unwrap());
    assert!(
        !page.contains("<script") && !page.contains(" style="),
        "{page}"
    );
    assert!(page.contains("&quot;&gt;&lt;script&gt;"));
    assert!(page.contains("WAIT_1HR, next test in"), "{page}");
    assert!(page.contains("data-until=\"100000\">1 min 0 s</time>"));
}

#[test]
fn history_and_node_pages_escape_too() {
    let now = Timestamp::from_second(40).unwrap();
    let history = runs(&[summary()], Some(HOSTILE), now);
    assert!(!history.contains("<script"));
    let page = NodePage {
        name: HOSTILE,
        node: None,
        peers: vec![(peer(), vec![HOSTILE.to_owned()])],
    };
    let page = node(&page, now);
    assert!(!page.contains("<script"));
    assert!(page.contains("role=\"log\""));
}

#[test]
fn the_map_is_drawn_and_its_table_says_the_same() {
    let mut proof = crate::proof::tests::saying(HOSTILE);
    proof.plan.nodes.push(PlanNode {
        name: NodeName::new(format!("{HOSTILE}2")),
        place: None,
        region: String::new(),
        ..proof.plan.nodes[0].clone()
    });
    let page = places(&summary(), &proof);
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("<svg class=\"map\"") && page.contains("class=\"land\""));
    assert!(page.contains("Without a place"), "{page}");
    assert!(page.contains("<td class=\"number none\">1</td>"), "{page}");
    for node in &mut proof.plan.nodes {
        node.place = None;
    }
    let page = places(&summary(), &proof);
    assert!(!page.contains("<svg") && page.contains("No region of this run has a place"));
}
