//! Ways in which somebody may try to pass a run off as another.

use std::path::PathBuf;
use std::process::Command;

use jiff::Timestamp;
use model::attempt::{
    Attempt, AttemptStart, Cell, Endpoints, Matrix, Observed, ObservedPath, Outcome, Pair,
};
use model::event::{Collected, Environment, EvidenceFile, EvidenceKind, Plan, PlanNode};
use model::inventory::NodeName;
use model::nat::theory::{Category, Prediction};
use model::protocol::{AttemptId, ClaimedPath, Failure, Reason};
use model::run::State;
use model::stats::Criterion;

use super::*;
use crate::documents;
use crate::journal::{Journal, read};
use model::event::Event;
use model::measure::Yield;
use model::suite::{SuiteName, built_in};

/// A run of two public nodes: one of its attempts failed.
struct Bed {
    _keep: tempfile::TempDir,
    dir: RunDir,
}

fn attempt(position: u32, outcome: Outcome) -> Attempt {
    let (from, to) = if position.is_multiple_of(2) {
        ("a", "b")
    } else {
        ("b", "a")
    };
    Attempt {
        start: AttemptStart {
            id: AttemptId(format!("stack-0.0-{position:04}")),
            matrix: Matrix::Stack,
            suite: SuiteName::default(),
            cycle: 0,
            pass: 0,
            position,
            cell: Cell {
                pair: Pair::of_nodes(NodeName::new(from), NodeName::new(to)),
                category: Category::Direct,
                predicted: Prediction::Always,
            },
        },
        outcome,
        observed: Observed {
            path: ObservedPath::Direct,
            via: None,
            forth_bytes: 262_144,
            back_bytes: 262_144,
            ..Observed::UNMEASURED
        },
        claimed: ClaimedPath::Direct,
        rungs: Vec::new(),
        connect_ms: Some(41.2),
        at_once: 1,
        endpoints: Endpoints::default(),
        explanation: None,
    }
}

fn plan() -> Plan {
    let node = |name: &str| PlanNode {
        name: NodeName::new(name),
        role: "test".into(),
        region: "here".into(),
        tested: true,
        nat: None,
        expected_success: None,
        peers: 1,
        families: model::family::Family::ipv4_alone(),
        udp: model::nat::Udp::default(),
        inbound: model::nat::Inbound::default(),
        place: None,
    };
    Plan {
        project: "p".into(),
        module: "m".into(),
        focus: "connectivity".into(),
        criteria_mode: "threshold".into(),
        proof_mode: "all-evidence".into(),
        fleet: "f".into(),
        runs_on: "twin t".into(),
        nodes: vec![node("a"), node("b")],
        families: model::family::Family::ipv4_alone(),
        sample: None,
        suites: built_in(),
        expressions: Vec::new(),
        baseline: None,
        criteria: vec![Criterion {
            suite: SuiteName::default(),
            name: "direct".into(),
            target: 99.0,
            margin: 40.0,
        }],
        budget: 400,
        payload_bytes: 262_144,
        timeout_ms: 2000,
        cooloff_seconds: 0,
        regression_tolerance: 0.0,
        soak_seconds: Vec::new(),
        stack: None,
        harness_version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// What a run with these outcomes would have journalled up to its judgement.
fn events(outcomes: Vec<Outcome>) -> Vec<Event> {
    let attempts: Vec<Attempt> = (0..).zip(outcomes).map(|(n, o)| attempt(n, o)).collect();
    let judgement = model::judge::judge(
        &plan(),
        &Yield {
            attempts: attempts.iter().collect(),
            measured: Vec::new(),
        },
    );
    let mut events = vec![
        Event::Confirmed(plan().into()),
        Event::Environment(Environment::default()),
    ];
    for state in [State::Setup, State::BuildLocal, State::Deploy] {
        events.extend([Event::Entered { state }, Event::Finished { state }]);
    }
    events.push(Event::Entered { state: State::Test });
    for attempt in attempts {
        events.push(Event::AttemptStarted(attempt.start.clone()));
        events.push(Event::AttemptFinished(Box::new(attempt)));
    }
    events.push(Event::Judged {
        cycle: 0,
        pass: 0,
        verdict: judgement.verdict,
        summary: judgement.summary,
    });
    events.push(match judgement.verdict {
        Verdict::Pass => Event::Completed,
        _ => Event::Stopped {
            cause: model::event::StopCause::Inconclusive,
            detail: "the data did not decide".into(),
        },
    });
    events
}

fn refused() -> Outcome {
    Outcome::StackFailure(Failure::new(Reason::Timeout, "no answer"))
}

/// One failure among so many successes that nothing is decided.
fn undecided() -> Vec<Outcome> {
    vec![
        Outcome::Success,
        Outcome::Success,
        refused(),
        Outcome::Success,
    ]
}

impl Bed {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = RunDir::create(keep.path(), "p", Timestamp::UNIX_EPOCH).unwrap();
        dir.write("logs/a.log", "a line\n").unwrap();
        let (sha256, bytes) = dir.digest("logs/a.log").unwrap();
        let mut events = events(undecided());
        events.push(Event::Collected(Collected {
            files: vec![EvidenceFile {
                kind: EvidenceKind::Log,
                path: "logs/a.log".into(),
                sha256,
                bytes,
            }],
            wan: None,
        }));
        let bed = Self { _keep: keep, dir };
        bed.journal(events);
        documents::write(&bed.dir).unwrap();
        bed
    }

    /// Writes a journal with a chain of its own, as a forger would.
    fn journal(&self, events: Vec<Event>) {
        self.dir.remove("journal.jsonl").unwrap();
        let mut journal = Journal::create(&self.dir.journal()).unwrap();
        for (second, event) in (0..).zip(events) {
            journal
                .append(Timestamp::from_second(second).unwrap(), event)
                .unwrap();
        }
    }

    fn events(&self) -> Vec<Event> {
        let entries = read(&self.dir.journal()).unwrap();
        entries.into_iter().map(|e| e.event).collect()
    }

    fn edit(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.dir.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = change(text.clone());
        assert_ne!(changed, text, "the attack changes something");
        std::fs::write(path, changed).unwrap();
    }

    /// Every document as a journal gives it that nobody checked.
    fn write_documents_of_whatever_is_there(&self) {
        for stale in self.dir.proofs().unwrap() {
            self.dir.remove(&stale).unwrap();
        }
        let text = std::fs::read(self.dir.journal()).unwrap();
        let journal = examine(&text);
        let proof = documents::proof(&journal).unwrap();
        for document in documents::render(&proof) {
            self.dir
                .write_exactly(&document.path, &document.text)
                .unwrap();
        }
        manifest::write(&self.dir).unwrap();
    }

    /// The names of the checks that found something, and all that they said.
    fn found(&self) -> (Vec<&'static str>, String) {
        self.found_with(None)
    }

    fn found_with(&self, signers: Option<&Path>) -> (Vec<&'static str>, String) {
        let verification = verify(&self.dir, signers).unwrap();
        let differing = verification
            .checks
            .iter()
            .filter(|c| c.status == Status::Differs);
        let names: Vec<_> = differing.clone().map(|c| c.name).collect();
        assert_eq!(verification.matches, names.is_empty());
        let said: Vec<String> = differing.flat_map(|c| c.problems.clone()).collect();
        (names, said.join("\n"))
    }

    fn key(&self, name: &str) -> PathBuf {
        let key = self._keep.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&key)
            .status()
            .unwrap();
        assert!(made.success());
        key
    }
}

#[test]
fn a_run_that_nobody_touched_matches() {
    let bed = Bed::new();
    let (names, said) = bed.found();
    assert!(names.is_empty(), "{said}");
    let verification = verify(&bed.dir, None).unwrap();
    assert_eq!(verification.verdict, Some(Verdict::Inconclusive));
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "MANIFEST"])
        .current_dir(bed.dir.path())
        .status()
        .unwrap();
    assert!(checked.success());
}

#[test]
fn an_attempt_that_was_changed_is_named_though_the_proof_was_mended() {
    let bed = Bed::new();
    bed.edit("journal.jsonl", |text| {
        text.replace(
            r#""outcome":{"class":"stack_failure","reason":"timeout","detail":"no answer"}"#,
            r#""outcome":{"class":"success"}"#,
        )
    });
    bed.write_documents_of_whatever_is_there();
    let (names, said) = bed.found();
    assert_eq!(names, ["journal"], "{said}");
    assert!(
        said.contains("line 15 is not the one that line 16 followed on"),
        "{said}"
    );
}

#[test]
fn an_attempt_that_was_taken_out_is_missed_though_all_was_made_anew() {
    let bed = Bed::new();
    let mut events = bed.events();
    events.retain(|event| match event {
        Event::AttemptStarted(start) => start.position != 2,
        Event::AttemptFinished(attempt) => attempt.start.position != 2,
        _ => true,
    });
    bed.journal(events);
    bed.write_documents_of_whatever_is_there();
    let (names, said) = bed.found();
    assert_eq!(names, ["attempts"], "{said}");
    assert!(said.contains("positions 2 of Stack are missing"), "{said}");
}

#[test]
fn an_attempt_moved_to_a_kinder_category_is_named() {
    let bed = Bed::new();
    let mut events = bed.events();
    for event in &mut events {
        match event {
            Event::AttemptStarted(start) if start.position == 2 => {
                start.cell.category = Category::Relay;
            }
            Event::AttemptFinished(attempt) if attempt.start.position == 2 => {
                attempt.start.cell.category = Category::Relay;
            }
            _ => {}
        }
    }
    bed.journal(events);
    bed.write_documents_of_whatever_is_there();
    let (names, said) = bed.found();
    assert_eq!(names, ["attempts"], "{said}");
    assert!(said.contains("by the plan's labels, not relay"), "{said}");
}

#[test]
fn a_verdict_that_does_not_follow_is_named() {
    let bed = Bed::new();
    let mut events = bed.events();
    let judged = events
        .iter_mut()
        .find(|e| matches!(e, Event::Judged { .. }))
        .unwrap();
    *judged = Event::Judged {
        cycle: 0,
        pass: 0,
        verdict: Verdict::Pass,
        summary: "direct proved".into(),
    };
    events.retain(|e| !matches!(e, Event::Stopped { .. } | Event::Collected(_)));
    events.extend([Event::Completed, Event::Collected(Collected::default())]);
    bed.journal(events);
    bed.write_documents_of_whatever_is_there();
    let (names, said) = bed.found();
    assert_eq!(names, ["verdict"], "{said}");
    assert!(
        said.contains("says PASS (direct proved); its attempts say INCONCLUSIVE"),
        "{said}"
    );
}

#[test]
fn a_count_in_the_proof_that_differs_is_named_by_its_field() {
    let bed = Bed::new();
    bed.edit("proof.json", |text| {
        text.replace("\"successes\": 3", "\"successes\": 4")
    });
    manifest::write(&bed.dir).unwrap();
    let (names, said) = bed.found();
    assert_eq!(names, ["proof.json"], "{said}");
    assert!(
        said.contains("says 4 in .criteria[0].successes, the journal gives 3"),
        "{said}"
    );
}

#[test]
fn documents_that_were_swapped_are_named() {
    for file in ["proof.html", "junit.xml", "proof-19700101T000018Z.md"] {
        let bed = Bed::new();
        bed.edit(file, |text| text.replace("INCONCLUSIVE", "PASS"));
        manifest::write(&bed.dir).unwrap();
        let (names, said) = bed.found();
        let due = if file.ends_with(".md") {
            "proof.md"
        } else {
            file
        };
        assert_eq!(names, [due], "{said}");
    }
}

#[test]
fn logs_that_were_edited_or_lost_are_named() {
    let bed = Bed::new();
    bed.edit("logs/a.log", |text| text.replace("line", "lie"));
    manifest::write(&bed.dir).unwrap();
    let (names, said) = bed.found();
    assert_eq!(names, ["evidence"], "{said}");
    assert!(said.contains("logs/a.log was changed"));

    let bed = Bed::new();
    bed.dir.remove("logs/a.log").unwrap();
    let (names, said) = bed.found();
    assert_eq!(names, ["evidence", "MANIFEST"], "{said}");
    assert!(said.contains("logs/a.log is missing"));
}

#[test]
fn a_file_that_was_added_is_named() {
    let bed = Bed::new();
    bed.dir.write("logs/b.log", "I was there, too\n").unwrap();
    let (names, said) = bed.found();
    assert_eq!(names, ["MANIFEST"], "{said}");
    assert!(said.contains("logs/b.log was added"));
}

#[test]
fn a_journal_that_was_cut_off_is_no_whole_run() {
    let bed = Bed::new();
    bed.edit("journal.jsonl", |text| {
        let kept: Vec<&str> = text.lines().take(13).collect();
        kept.join("\n") + "\n"
    });
    bed.write_documents_of_whatever_is_there();
    let (names, said) = bed.found();
    assert!(names.contains(&"run"), "{said}");
    assert!(
        said.contains("the run goes on, was killed, or the journal was cut off"),
        "{said}"
    );
}

#[test]
fn a_line_that_was_taken_out_is_named() {
    let bed = Bed::new();
    bed.edit("journal.jsonl", |text| {
        let lines: Vec<&str> = text.lines().collect();
        [&lines[..11], &lines[13..]].concat().join("\n") + "\n"
    });
    let (names, said) = bed.found();
    assert!(names.contains(&"journal"), "{said}");
    assert!(said.contains("line 12: entry 13 where 11 is due"), "{said}");
}

#[test]
fn only_a_signature_stands_against_one_who_makes_all_of_it_anew() {
    let bed = Bed::new();
    let (mine, other) = (bed.key("mine"), bed.key("other"));
    let signers = bed._keep.path().join("signers");
    let public = std::fs::read_to_string(mine.with_extension("pub")).unwrap();
    std::fs::write(&signers, format!("me@example.org {public}")).unwrap();

    assert_eq!(
        bed.found_with(Some(&signers)).0,
        ["signature"],
        "not signed yet"
    );
    signature::sign(&bed.dir, &mine).unwrap();
    assert!(bed.found().0.is_empty());
    assert!(bed.found_with(Some(&signers)).0.is_empty());
    let who = verify(&bed.dir, Some(&signers)).unwrap();
    let who = &who.checks.last().unwrap().detail;
    assert!(
        who.starts_with("by me@example.org, ED25519 SHA256:"),
        "{who}"
    );

    // Somebody makes up a run that passed, whole and consistent.
    let signature = std::fs::read(bed.dir.path().join(manifest::SIGNATURE)).unwrap();
    let mut passed = events(vec![Outcome::Success; 8]);
    passed.push(Event::Collected(Collected::default()));
    bed.journal(passed);
    bed.write_documents_of_whatever_is_there();
    assert_eq!(
        bed.found().0,
        Vec::<&str>::new(),
        "which nothing in it contradicts"
    );
    assert_eq!(bed.found_with(Some(&signers)).0, ["signature"]);
    std::fs::write(bed.dir.path().join(manifest::SIGNATURE), signature).unwrap();
    assert_eq!(bed.found().0, ["signature"], "the old one does not fit");
    signature::sign(&bed.dir, &other).unwrap();
    let (names, said) = bed.found_with(Some(&signers));
    assert_eq!(names, ["signature"]);
    assert!(said.contains("which is not in"), "{said}");
}

#[test]
fn a_journal_from_elsewhere_cannot_make_us_read_other_files() {
    let bed = Bed::new();
    let mut events = bed.events();
    events.pop();
    events.push(Event::Collected(Collected {
        files: vec![EvidenceFile {
            kind: EvidenceKind::Log,
            path: "../../secret".into(),
            sha256: String::new(),
            bytes: 0,
        }],
        wan: None,
    }));
    bed.journal(events);
    bed.write_documents_of_whatever_is_there();
    let (names, said) = bed.found();
    assert_eq!(names, ["evidence"]);
    assert!(said.contains("leads out of the run directory"), "{said}");
}

#[test]
fn what_is_no_run_is_an_error() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        verify(&RunDir::open(empty.path()), None),
        Err(VerifyError::NoJournal { .. })
    ));
    std::fs::write(empty.path().join("journal.jsonl"), "nothing\n").unwrap();
    assert!(matches!(
        verify(&RunDir::open(empty.path()), None),
        Err(VerifyError::NotAJournal { .. })
    ));
}
