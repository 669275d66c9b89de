use jiff::Timestamp;
use model::attempt::{
    Attempt, AttemptStart, Cell, Endpoints, Observed, ObservedPath, Outcome, Pair, RungRecord,
};
use model::event::{
    Build, Decision, Environment, EvidenceFile, EvidenceKind, Plan, PlanNode, Review,
};
use model::inventory::{NodeName, Place};
use model::link::{LinkMeasured, RoundTrip};
use model::nat::theory::{Category, Prediction};
use model::proof::{
    CriterionResult, Evidence, JournalMark, MatrixCell, NodeNatProof, PassResult, ProofNode,
    Reviewed, TimelineEntry, WanReport,
};
use model::protocol::{AttemptId, ClaimedPath, Failure, Reason, Rung};
use model::run::State;
use model::stats::Criterion;
use model::suite::SuiteName;

use super::*;

/// A proof in which every text that can come from outside is `words`.
pub(crate) fn saying(words: &str) -> Proof {
    let text = || words.to_owned();
    let at = |second| Timestamp::from_second(1_700_000_000 + second).unwrap();
    let name = NodeName::new(words);
    let pair = Pair::of_nodes(name.clone(), NodeName::new(format!("{words}2")));
    let criterion = CriterionResult {
        name: text(),
        target: 99.0,
        margin: 4.0,
        attempts: 3,
        successes: 2,
        infrastructure_failures: 1,
        interval: Some([9.4, 99.2]),
        verdict: Verdict::Inconclusive,
        reason: text(),
        asks: text(),
        uneven: vec![text()],
        ..CriterionResult::default()
    };
    let failure = Failure::new(Reason::Timeout, words);
    let attempt = Attempt {
        start: AttemptStart {
            id: AttemptId(text()),
            matrix: Matrix::Stack,
            suite: SuiteName::default(),
            cycle: 0,
            pass: 0,
            position: 0,
            cell: Cell {
                pair: pair.clone(),
                category: Category::NatTraversed,
                predicted: Prediction::Always,
            },
        },
        outcome: Outcome::StackFailure(failure.clone()),
        observed: Observed::UNMEASURED,
        claimed: ClaimedPath::Punched,
        rungs: vec![RungRecord {
            rung: Rung::Punched,
            elapsed_ms: 4000.0,
            timeout_ms: 10_000,
            failure: Some(failure),
            dialled: Vec::new(),
        }],
        connect_ms: None,
        at_once: 1,
        endpoints: Endpoints::default(),
        explanation: Some(model::explain::Explanation {
            cause: model::explain::Cause::UdpBlocked,
            sentence: text(),
            seen: vec![text()],
        }),
    };
    let pass = |pass| PassResult {
        cycle: 0,
        pass,
        at: at(60 + i64::from(pass)),
        verdict: Verdict::Inconclusive,
        summary: text(),
        criteria: vec![criterion.clone()],
    };
    Proof {
        schema: 2,
        verdict: Verdict::Inconclusive,
        summary: text(),
        project: text(),
        focus: text(),
        started_at: at(0),
        ended_at: at(90),
        state: "STOPPED".into(),
        criteria: vec![criterion.clone()],
        links: vec![LinkMeasured {
            pair: pair.clone(),
            like_it: 3,
            set: Some(RoundTrip {
                delay_ms: 40.0,
                jitter_ms: 0.0,
                loss_percent: 0.0,
                rate_mbit: None,
            }),
            measured: None,
            probes: 10,
            answered: 0,
            mismatch: Some(text()),
        }],
        behaviours: Vec::new(),
        measures: Vec::new(),
        measured: Vec::new(),
        matrix: vec![MatrixCell {
            suite: SuiteName::default(),
            pair,
            category: Category::NatTraversed,
            predicted: Prediction::Always,
            observed: ObservedPath::None,
            claimed: ClaimedPath::Punched,
            attempts: 3,
            successes: 2,
            reference: Some(ObservedPath::Direct),
            connect_ms: Some(61.4),
            failure: Some(text()),
        }],
        attempts: vec![attempt],
        nodes: vec![ProofNode {
            name: name.clone(),
            role: text(),
            region: text(),
            reached: "reached".into(),
            nat: NodeNatProof {
                labelled: text(),
                measured: format!("not {words}"),
                evidence: vec![text()],
            },
            digest: Some(text()),
            services: std::iter::once((text(), text())).collect(),
            stack: Some(text()),
            kernel: Some(text()),
        }],
        findings: vec![text()],
        plan: Plan {
            project: text(),
            module: text(),
            focus: text(),
            criteria_mode: text(),
            proof_mode: text(),
            fleet: text(),
            runs_on: text(),
            nodes: vec![PlanNode {
                name,
                role: text(),
                region: text(),
                tested: true,
                nat: None,
                expected_success: None,
                peers: 1,
                udp: model::nat::Udp::default(),
                inbound: model::nat::Inbound::default(),
                place: Some(Place {
                    latitude: 50.0,
                    longitude: 11.0,
                }),
            }],
            sample: None,
            suites: Vec::new(),
            expressions: vec![text()],
            baseline: None,
            criteria: vec![Criterion {
                suite: SuiteName::default(),
                name: text(),
                target: 99.0,
                margin: 4.0,
            }],
            budget: 400,
            payload_bytes: 262_144,
            timeout_ms: 10_000,
            cooloff_seconds: 30,
            regression_tolerance: 0.0,
            soak_seconds: vec![3600],
            stack: Some(model::event::StackSource {
                name: text(),
                given: text(),
                commit: Some(text()),
                dirty_sha256: Some(text()),
            }),
            harness_version: text(),
        },
        builds: vec![Build {
            binary: text(),
            command: text(),
            sha256: text(),
            bytes: 5,
            seconds: 1.0,
            warnings: 0,
        }],
        wan: Some(WanReport {
            seed: 1,
            packets: 5,
            lateness_p50_ms: 0.1,
            lateness_p99_ms: 0.4,
            unasked_drops: 0,
        }),
        evidence: Evidence {
            fix_commits: vec![text()],
            files: vec![EvidenceFile {
                kind: EvidenceKind::Log,
                path: text(),
                sha256: text(),
                bytes: 9,
            }],
            captures: vec![format!("captures/{words}/caller-outside.pcapng")],
            ..Evidence::default()
        },
        timeline: vec![TimelineEntry {
            state: State::Test,
            at: at(4),
            cycle: 0,
            pass: 0,
        }],
        passes: vec![pass(0), pass(1)],
        environment: Environment {
            harness_version: text(),
            harness_sha256: Some(text()),
            system: text(),
            processors: 2,
            run_dir: text(),
        },
        review: Some(Reviewed {
            at: at(90),
            review: Review {
                decision: Decision::Rejected,
                by: text(),
                via: text(),
                reason: Some(text()),
            },
        }),
        journal: JournalMark {
            entries: 9,
            head: text(),
        },
    }
}

#[test]
fn whatever_it_is_told_stays_text() {
    let page = proof(&saying(
        "\"'></svg></style><script>alert(1)</script><img src=x onerror=y>",
    ));
    assert_eq!(page.matches("<script").count(), 0);
    assert_eq!(page.matches("<img").count(), 0);
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(page.matches("&lt;script&gt;").count() > 30);
}

#[test]
fn it_stands_alone_and_needs_no_script() {
    let page = proof(&saying("plain"));
    for outside in [
        "src=",
        "href=",
        "url(",
        "@import",
        "javascript:",
        " on",
        "style=\"",
    ] {
        let found = page
            .find(outside)
            .map(|at| &page[at..page.len().min(at + 60)]);
        let is_prose = outside == " on" && !page.contains(" onload") && !page.contains(" onclick");
        assert!(found.is_none() || is_prose, "{outside}: {found:?}");
    }
}

#[test]
fn the_verdict_comes_first_and_every_section_is_there() {
    let page = proof(&saying("plain"));
    let sections = [
        "<span class=\"word\">INCONCLUSIVE</span>",
        "<h2>Criteria",
        "<h2>Findings",
        "<h2>Matrix",
        "<h2>Attempts that did not count",
        "<h2>Map",
        "<h2>Course of the run",
        "<h2>Soak",
        "<h2>Network between the hosts",
        "<h2>NAT certificates",
        "<h2>Nodes",
        "<h2>Source and builds",
        "<h2>Environment and terms",
        "<h2>Evidence",
        "<h2>Attempts <",
    ];
    let places: Vec<usize> = sections.iter().map(|s| page.find(s).expect(s)).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_failing_attempt_shows_what_its_explanation_rests_on_and_its_packets() {
    let page = proof(&saying("plain"));
    assert!(page.contains("<ul class=\"seen\">\n<li>plain</li>"));
    assert!(page.contains("<code>captures/plain/</code>: caller-outside<"));
    let mut other = saying("plain");
    other.evidence.captures = vec!["captures/s-9/caller-outside.pcapng".into()];
    assert!(!proof(&other).contains("caller-outside"));
}

#[test]
fn a_network_is_set_beside_measured() {
    let page = proof(&saying("plain"));
    assert!(page.contains("<td class=\"number set\">40.0 ms</td><td class=\"number\">–</td>"));
    assert!(page.contains("<td class=\"differs\">≠ plain</td>"));
}
