//! Killed at every event: a run with a failure, a refused fix, a fix and two soaks
//! is cut off after each of its entries, and in the middle of each line, and has
//! to come to the same end.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use model::attempt::{Attempt, AttemptStart, Cell, Endpoints, Matrix, Observed, Outcome};
use model::cells::cells;
use model::event::{Build, Collected, Deployed, Entry, Event, NodeFacts, Plan};
use model::fix::{FailureKind, FixCommit, FixOutcome, FixTried, FixedBy, FoundFailure};
use model::health::Health;
use model::nat::theory::Category;
use model::protocol::{AttemptId, ClaimedPath, Failure, Reason};
use model::run::{Run, State};
use model::stats::Verdict;
use model::{config, inventory, judge};
use tokio::sync::watch;

use crate::driver::{Ended, How, RunError, begin_again, go_on, reopen};
use crate::journal::{self, Journal};
use crate::plan::{Wish, plan};
use crate::recorder::{Clock, RecordError, Recorder};
use crate::run_dir::{RunDir, RunDirError};
use crate::steps::{StepError, Steps};

const FLEET: &str = "\
fleet: small
nodes:
  - { name: one, addresses: [192.0.2.11], role: bootstrap }
  - { name: two, addresses: [192.0.2.12], role: bootstrap }
  - { name: cone, addresses: [192.0.2.21], role: nat, nat: { type: full-cone } }
  - { name: port, addresses: [192.0.2.22], role: nat, nat: { type: port-restricted } }
";

/// A remote that is always there, whose stack fails behind NATs until it is mended.
struct Fake {
    time: Arc<AtomicI64>,
}

impl Fake {
    fn test(&self, recorder: &Recorder) -> Result<(), RecordError> {
        let (cycle, pass, plan) =
            recorder.with(|run| (run.cycle, run.pass, run.plan.clone().unwrap()));
        let all = cells(&plan, &plan.suites[0]);
        let is_mended = recorder.with(|run| run.fixes().next().is_some());
        while let Some(cell) = recorder.with(|run| due(run, &plan, &all, (cycle, pass))) {
            let is_good = is_mended || cell.category == Category::Direct;
            self.attempt(recorder, cell, (cycle, pass), is_good)?;
        }
        let judgement = recorder.with(|run| judge::judge_test(&plan, run, cycle, pass));
        recorder.record(Event::Judged {
            cycle,
            pass,
            verdict: judgement.verdict,
            summary: judgement.summary,
        })
    }

    fn attempt(
        &self,
        recorder: &Recorder,
        cell: Cell,
        (cycle, pass): (u32, u32),
        is_good: bool,
    ) -> Result<(), RecordError> {
        let position = recorder.with(|run| run.next_position(Matrix::Stack, cycle, pass));
        let start = AttemptStart {
            id: AttemptId(format!("stack-{cycle}.{pass}-{position:04}")),
            matrix: Matrix::Stack,
            suite: model::suite::SuiteName::default(),
            cycle,
            pass,
            position,
            cell,
        };
        recorder.record(Event::AttemptStarted(start.clone()))?;
        self.time.fetch_add(1, Ordering::Relaxed);
        let outcome = if is_good {
            Outcome::Success
        } else {
            Outcome::StackFailure(Failure::new(Reason::Timeout, "silence"))
        };
        recorder.record(Event::AttemptFinished(Box::new(Attempt {
            start,
            outcome,
            observed: Observed::UNMEASURED,
            claimed: ClaimedPath::Direct,
            rungs: Vec::new(),
            connect_ms: None,
            at_once: 1,
            endpoints: Endpoints::default(),
            explanation: None,
        })))
    }

    fn fix(&self, recorder: &Recorder) -> Result<(), RecordError> {
        let found = FoundFailure {
            kind: FailureKind::Test,
            signature: "s".into(),
            headline: "nat_traversed refuted".into(),
            cells: Vec::new(),
            bundle: "fix/1".into(),
        };
        if recorder.with(|run| run.failure.is_none()) {
            return recorder.record(Event::FailureFound(found));
        }
        recorder.record(if recorder.with(|run| run.fix_history.is_empty()) {
            Event::FixTried(FixTried {
                number: 1,
                signature: found.signature,
                outcome: FixOutcome::Refused,
                detail: "vps-test.yaml".into(),
                diff: None,
            })
        } else {
            Event::FixCommitted(FixCommit {
                signature: found.signature,
                by: FixedBy::Command,
                repository: "/r".into(),
                branch: None,
                commit: Some("c0ffee".into()),
                subject: "Bind all".into(),
            })
        })
    }
}

/// The cell that is tried next: first each that was not, then what is still open.
fn due(run: &Run, plan: &Plan, all: &[Cell], (cycle, pass): (u32, u32)) -> Option<Cell> {
    let attempts = run.judged_attempts(cycle, pass);
    let tried = |cell: &&Cell| {
        attempts
            .iter()
            .filter(|a| a.start.cell.pair == cell.pair && !a.was_interrupted())
            .count()
    };
    let yielded = run.yielded(cycle, pass);
    let open: Vec<String> = judge::wants(plan, &yielded, &plan.suites[0].name)
        .into_iter()
        .map(|want| want.measure)
        .collect();
    let least = all.iter().min_by_key(tried).filter(|cell| tried(cell) == 0);
    let still_open = all
        .iter()
        .filter(|cell| open.contains(&cell.criterion()))
        .min_by_key(tried);
    least.or(still_open).cloned()
}

#[async_trait::async_trait(?Send)]
impl Steps for Fake {
    async fn perform(&mut self, state: State, recorder: &Recorder) -> Result<(), StepError> {
        self.time.fetch_add(1, Ordering::Relaxed);
        let nodes = recorder.with(|run| run.plan.as_ref().unwrap().nodes.clone());
        match state {
            State::Setup => {
                for node in nodes {
                    recorder.record(Event::NodeReached {
                        node: node.name,
                        facts: NodeFacts {
                            reached_by: "name".into(),
                            kernel: "Linux".into(),
                            free_bytes: 1,
                            clock_skew_ms: 0,
                            arch: "x86_64".into(),
                            glibc: None,
                        },
                    })?;
                }
            }
            State::BuildLocal => recorder.record(Event::Built(Build {
                binary: "t".into(),
                command: "make".into(),
                sha256: "d".into(),
                bytes: 1,
                seconds: 0.1,
                warnings: 0,
            }))?,
            State::Deploy => {
                for node in nodes {
                    recorder.record(Event::Deployed(Deployed {
                        node: node.name,
                        binary: "t".into(),
                        unit: "t.service".into(),
                        digest: "d".into(),
                        sent_bytes: 0,
                        stack: None,
                    }))?;
                }
            }
            State::Test => self.test(recorder)?,
            State::Fix => self.fix(recorder)?,
            _ => {}
        }
        Ok(())
    }

    async fn wait(&mut self, until: Timestamp, recorder: &Recorder) -> Result<(), StepError> {
        let plan = recorder.with(|run| run.plan.clone().unwrap());
        recorder.record(Event::Probed {
            services: plan.nodes.iter().map(|node| healthy(&node.name)).collect(),
        })?;
        let half = until.duration_since(recorder.now()).as_secs() / 2 + 1;
        self.time.fetch_add(half, Ordering::Relaxed);
        Ok(())
    }

    async fn collect(&mut self, _: &Recorder, _: &RunDir) -> Result<Collected, RunDirError> {
        Ok(Collected::default())
    }

    async fn leave(&mut self) {}
}

fn healthy(node: &inventory::NodeName) -> Health {
    Health {
        node: node.clone(),
        unit: "t.service".into(),
        boot: "b".into(),
        digest: Some("d".into()),
        pid: 1,
        restarts: 0,
        resident_bytes: 1,
        answers: Some(true),
    }
}

fn a_plan() -> Plan {
    let config = config::read(
        "c",
        "tests: { connectivity: { margins: { direct: 40, nat_traversed: 40, relay: 40 } } }",
    )
    .unwrap()
    .config;
    let (_, module) = config.module_of("ant-quic").unwrap();
    let wish = Wish {
        project: "ant-quic".into(),
        suites: config.focus(module, "connectivity").unwrap(),
        focus: "connectivity".into(),
        expression: None,
        baseline: None,
        criteria: config::CriteriaMode::Threshold,
        proof: config::ProofMode::AllEvidence,
        soak: Some([3600, 21600].map(std::time::Duration::from_secs).into()),
        runs_on: "fake".into(),
        stack: None,
    };
    let fleet = inventory::read("f", FLEET).unwrap();
    plan(&config, "quic-test", &fleet, &wish).unwrap()
}

/// A machine: its clock and its disk.
struct Machine {
    time: Arc<AtomicI64>,
    disk: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        Self {
            time: Arc::new(AtomicI64::new(1_700_000_000)),
            disk: if memory.is_dir() {
                tempfile::tempdir_in(memory).unwrap()
            } else {
                tempfile::tempdir().unwrap()
            },
        }
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.time);
        Arc::new(move || Timestamp::from_second(time.load(Ordering::Relaxed)).unwrap())
    }

    fn dir(&self) -> RunDir {
        RunDir::open(self.disk.path())
    }

    async fn go_on(&self, recorder: Recorder) -> Result<Ended, RunError> {
        let mut steps = Fake {
            time: Arc::clone(&self.time),
        };
        let (_keep, stop) = watch::channel(false);
        go_on(&mut steps, &recorder, &self.dir(), stop).await
    }

    async fn start(&self) -> Ended {
        let journal = Journal::create(&self.dir().journal()).unwrap();
        let recorder = Recorder::with_clock(journal, Run::default(), Vec::new(), self.clock());
        recorder.record(Event::Confirmed(a_plan().into())).unwrap();
        self.go_on(recorder).await.unwrap()
    }

    async fn resume(&self) -> Result<Ended, RunError> {
        let (journal, run) = reopen(&self.dir())?;
        let recorder = Recorder::with_clock(journal, run, Vec::new(), self.clock());
        begin_again(How::AsItWas, &recorder, &self.dir())?;
        self.go_on(recorder).await
    }

    /// What a killed process left: these bytes, and no proof.
    fn holding(journal: &[u8]) -> Self {
        let machine = Self::new();
        std::fs::File::create(machine.dir().journal())
            .unwrap()
            .write_all(journal)
            .unwrap();
        machine
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.dir().journal()).unwrap()
    }

    fn entries(&self) -> Vec<Entry> {
        journal::read(&self.dir().journal()).unwrap()
    }
}

fn ends_of_lines(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
    ends.map(|(at, _)| at + 1).collect()
}

fn check(machine: &Machine, ended: &Ended, before: &[Entry], what: &str) {
    assert_eq!(ended.proof.verdict, Verdict::Pass, "{what}");
    assert_eq!(ended.proof.state, "COMPLETE", "{what}");
    let entries = machine.entries();
    assert_eq!(
        entries[..before.len()],
        *before,
        "{what}: what was written stays"
    );
    let mut started = BTreeSet::new();
    let mut open = BTreeSet::new();
    for entry in &entries {
        match &entry.event {
            Event::AttemptStarted(start) => {
                assert!(
                    started.insert(start.id.clone()),
                    "{what}: {:?} again",
                    start.id
                );
                open.insert(start.id.clone());
            }
            Event::AttemptFinished(attempt) => assert!(open.remove(&attempt.start.id), "{what}"),
            Event::AttemptInterrupted { id } => assert!(open.remove(id), "{what}"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{what}: {open:?} have no end");
    let interrupted = |e: &&Entry| matches!(e.event, Event::AttemptInterrupted { .. });
    let findings = ended.proof.findings.join("; ");
    assert_eq!(
        entries.iter().any(|e| interrupted(&e)),
        findings.contains("ended with the orchestrator"),
        "{what}: {findings}"
    );
    let proved: BTreeSet<_> = ended
        .proof
        .attempts
        .iter()
        .map(|a| a.start.id.clone())
        .collect();
    assert_eq!(proved, started, "{what}: all are in the proof");
    assert_eq!(
        ended.proof.attempts.len(),
        proved.len(),
        "{what}: none is there twice"
    );
    let fixes = |e: &&Entry| matches!(e.event, Event::FixCommitted(_));
    assert_eq!(entries.iter().filter(fixes).count(), 1, "{what}");
    let waits = |e: &&Entry| matches!(e.event, Event::WaitBegan { .. });
    assert_eq!(entries.iter().filter(waits).count(), 2, "{what}");
}

#[tokio::test]
async fn a_run_that_is_killed_at_any_event_comes_to_the_same_end() {
    let whole = Machine::new();
    let ended = whole.start().await;
    check(&whole, &ended, &[], "the whole run");
    let names: BTreeSet<&str> = whole
        .entries()
        .iter()
        .map(|e| e.event.name())
        .collect::<BTreeSet<_>>();
    for name in [
        "fix_tried",
        "fix_committed",
        "wait_began",
        "probed",
        "completed",
    ] {
        assert!(names.contains(name), "{name} is part of a full run");
    }
    let bytes = whole.bytes();
    let ends = ends_of_lines(&bytes);
    let empty = Machine::holding(&bytes[..ends[0] / 2]).resume().await;
    assert!(matches!(empty, Err(RunError::NothingThere { .. })));

    for (index, end) in ends.iter().enumerate() {
        // At the end of the line, and in the middle of the next one.
        let torn = ends.get(index + 1).map(|next| (end + next) / 2);
        for cut in std::iter::once(*end).chain(torn) {
            let what = format!("cut after entry {index}, at byte {cut}");
            let machine = Machine::holding(&bytes[..cut]);
            let before = whole.entries()[..=index].to_vec();
            let ended = machine.resume().await.unwrap();
            check(&machine, &ended, &before, &what);
            if index % 7 != 0 {
                continue;
            }
            // Killed once more, soon after it was resumed.
            let again = machine.bytes();
            let ends = ends_of_lines(&again);
            let second = ends[(index + 4).min(ends.len() - 1)];
            let machine = Machine::holding(&again[..second]);
            let ended = machine.resume().await.unwrap();
            check(&machine, &ended, &before, &format!("{what}, and again"));
        }
    }
}

#[tokio::test]
async fn a_complete_run_is_not_resumed_but_for_its_proof() {
    let machine = Machine::new();
    machine.start().await;
    let again = machine.resume().await;
    assert!(matches!(again, Err(RunError::Complete { .. })));
    let length = machine.bytes().len();
    machine.dir().remove(crate::manifest::NAME).unwrap();
    machine.resume().await.unwrap();
    assert!(machine.dir().is_documented());
    assert_eq!(machine.bytes().len(), length, "nothing was added");
}

#[tokio::test]
async fn a_clock_that_goes_back_an_hour_moves_no_deadline() {
    let whole = Machine::new();
    whole.start().await;
    let bytes = whole.bytes();
    let entries = whole.entries();
    let wait = entries
        .iter()
        .position(|e| matches!(e.event, Event::WaitBegan { .. }))
        .unwrap();
    let Event::WaitBegan { until, .. } = entries[wait].event else {
        unreachable!("it was looked for")
    };
    let machine = Machine::holding(&bytes[..ends_of_lines(&bytes)[wait]]);
    let earlier = entries[wait].at - SignedDuration::from_hours(1);
    machine.time.store(earlier.as_second(), Ordering::Relaxed);
    let ended = machine.resume().await.unwrap();
    check(&machine, &ended, &entries[..=wait], "an hour back");
    let after = machine.entries();
    let tested = after[wait..]
        .iter()
        .find(|e| matches!(e.event, Event::Entered { state: State::Test }))
        .unwrap();
    assert!(tested.at >= until, "{} is before {until}", tested.at);
}

#[tokio::test]
async fn a_peer_that_falls_ill_in_a_wait_restarts_the_loop() {
    let whole = Machine::new();
    whole.start().await;
    let entries = whole.entries();
    let probed = entries
        .iter()
        .position(|e| matches!(e.event, Event::Probed { .. }))
        .unwrap();
    let bytes = whole.bytes();
    let machine = Machine::holding(&bytes[..ends_of_lines(&bytes)[probed]]);
    let (journal, run) = reopen(&machine.dir()).unwrap();
    let recorder = Recorder::with_clock(journal, run, Vec::new(), machine.clock());
    let mut ill = healthy(&inventory::NodeName::new("cone"));
    ill.restarts = 1;
    recorder
        .record(Event::Probed {
            services: vec![ill],
        })
        .unwrap();
    let ended = machine.go_on(recorder).await.unwrap();
    let states: Vec<State> = machine.entries()[probed..]
        .iter()
        .filter_map(|e| match e.event {
            Event::Entered { state } => Some(state),
            _ => None,
        })
        .collect();
    assert_eq!(states[..2], [State::Restart, State::Setup]);
    assert_eq!(ended.proof.state, "COMPLETE");
    let findings = ended.proof.findings.join("\n");
    assert!(findings.contains("restarted 1 times"), "{findings}");
}
