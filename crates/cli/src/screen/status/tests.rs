use engine::{Holder, RunDir};
use model::event::StopCause;
use model::inventory::NodeName;
use model::status::{Next, Stopped};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn shown(loops: &[Loop]) -> String {
    let view = View {
        now: at("2026-01-02T12:12:00Z"),
        zone: &TimeZone::UTC,
        paint: Paint::Plain,
    };
    view.render(loops, Path::new("/state"))
}

fn status() -> Status {
    Status {
        project: "ant-quic".into(),
        focus: "connectivity".into(),
        runs_on: "twin twin".into(),
        state: State::Wait1Hr,
        since: Some(at("2026-01-02T12:00:00Z")),
        started_at: Some(at("2026-01-02T11:55:00Z")),
        next: Next {
            what: "TEST".into(),
            at: Some(at("2026-01-02T13:00:00Z")),
        },
        cycle: 0,
        passed: 1,
        passes: 3,
        attempts: Counters {
            succeeded: 72,
            failed: 1,
            infrastructure: 0,
        },
        in_flight: 0,
        verdict: Some(Verdict::Pass),
        stopped: None,
        commits: vec!["0123abc".into()],
        findings: 2,
        degraded: vec![NodeName::new("saorsa-9")],
    }
}

fn running() -> Loop {
    Loop {
        project: "ant-quic".into(),
        holder: Some(Holder {
            pid: 4242,
            born: None,
            since: at("2026-01-02T11:54:00Z"),
            run: None,
        }),
        dir: Some(RunDir::open("/state/ant-quic/20260102T115400Z")),
        status: Some(Ok(status())),
    }
}

#[test]
fn a_loop_that_waits_one_that_died_one_that_was_stopped_and_one_that_starts() {
    let died = Loop {
        project: "saorsa-node".into(),
        holder: None,
        ..running()
    };
    let stopped = Loop {
        project: "saorsa-core".into(),
        holder: None,
        status: Some(Ok(Status {
            state: State::Stopped,
            verdict: Some(Verdict::Inconclusive),
            stopped: Some(Stopped {
                cause: StopCause::Infrastructure,
                detail: "only 2 of 5 nodes can be used\nmore".into(),
            }),
            ..status()
        })),
        ..running()
    };
    let starts = Loop {
        project: "saorsa-gossip".into(),
        dir: None,
        status: None,
        ..running()
    };
    insta::assert_snapshot!(shown(&[running(), died, stopped, starts]));
}

#[test]
fn without_runs_it_says_how_to_begin() {
    assert!(shown(&[]).contains("no runs yet in /state"));
}

#[test]
fn json_says_who_is_alive() {
    let value = json(&running());
    assert_eq!(value["alive"], true);
    assert_eq!(value["pid"], 4242);
    assert_eq!(value["state"], "WAIT_1HR");
    assert_eq!(value["next"]["at"], "2026-01-02T13:00:00Z");
    assert_eq!(value["attempts"]["succeeded"], 72);
    let starting = Loop {
        dir: None,
        status: None,
        ..running()
    };
    assert_eq!(json(&starting)["state"], "INTERVIEW");
}
