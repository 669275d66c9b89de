//! The suites with several testers in this process, over loopback.

use std::net::SocketAddr;

use agent::Tester as _;
use futures::future::join_all;
use model::measure::{Trial, Values};
use model::protocol::{AttemptId, Fellow, Perform, Performed};
use serde_json::{Value, json};

use crate::steps;
use crate::tester::NodeTester;

struct Field {
    testers: Vec<NodeTester>,
    binds: Vec<SocketAddr>,
    said: Vec<Value>,
    is_lost: Vec<bool>,
    /// What the testers store, learnt when they start.
    contents: Vec<Vec<u8>>,
}

impl Field {
    fn new(size: usize) -> Self {
        Self {
            testers: (0..size).map(|_| NodeTester::default()).collect(),
            binds: (0..size).map(|_| free()).collect(),
            said: vec![Value::Null; size],
            is_lost: vec![false; size],
            contents: Vec::new(),
        }
    }

    async fn start(&mut self, suite: &str, params: Value) {
        self.step(suite, "start", params).await;
        self.step(suite, "join", Value::Null).await;
        for place in 0..self.testers.len() {
            let call = self.call(place, suite, "", &Value::Null);
            self.contents
                .extend(self.testers[place].contents(&call).await);
        }
    }

    /// One after the other, as the engine has it for nodes that start or store.
    async fn turns(&mut self, suite: &str, step: &str, params: Value) -> Vec<Performed> {
        let mut all = Vec::new();
        for place in 0..self.testers.len() {
            let call = self.call(place, suite, step, &params);
            let done = self.testers[place].perform(None, call).await.unwrap();
            if !done.said.is_null() {
                self.said[place] = done.said.clone();
            }
            tell(step, &done);
            all.push(done);
        }
        all
    }

    fn call(&self, place: usize, suite: &str, step: &str, params: &Value) -> Perform {
        let fellows = (0..self.testers.len()).filter(|other| *other != place);
        Perform {
            session: AttemptId(format!("{suite}-{}", self.binds[0].port())),
            suite: suite.into(),
            step: step.into(),
            node: format!("n{place}"),
            cut_off: Vec::new(),
            absent: Vec::new(),
            bind: Some(self.binds[place]),
            coordinators: Vec::new(),
            fellows: fellows
                .map(|other| Fellow {
                    node: format!("n{other}"),
                    said: self.said[other].clone(),
                })
                .collect(),
            params: params.clone(),
            timeout_ms: 25_000,
        }
    }

    /// A tester whose process has ended in order, with its directory still there.
    async fn end_process(&mut self, suite: &str, place: usize) {
        let tester = std::mem::take(&mut self.testers[place]);
        tester
            .stop(&self.call(place, suite, "", &Value::Null))
            .await;
        self.said[place] = Value::Null;
    }

    /// All testers at once, as the engine does it; what they measured.
    async fn step(&mut self, suite: &str, step: &str, params: Value) -> Vec<Performed> {
        let calls = (0..self.testers.len())
            .filter(|place| !self.is_lost[*place] || step == "end")
            .map(|place| self.testers[place].perform(None, self.call(place, suite, step, &params)));
        let done: Vec<Performed> = join_all(calls)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let there = (0..self.testers.len()).filter(|place| !self.is_lost[*place] || step == "end");
        for (place, performed) in there.zip(&done) {
            if !performed.said.is_null() {
                self.said[place] = performed.said.clone();
            }
        }
        done.iter().for_each(|done| tell(step, done));
        done
    }
}

/// For whoever reads why a test failed.
fn tell(step: &str, done: &Performed) {
    for taken in &done.measures {
        println!(
            "{step}: {} {:?} {:?} {:?}",
            taken.name, taken.conditions, taken.values, taken.detail
        );
    }
}

fn free() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

/// Successes and trials.
fn count(done: &[Performed], measure: &str) -> (usize, usize) {
    let taken = done.iter().flat_map(|performed| &performed.measures);
    let outcomes: Vec<Trial> = taken
        .filter(|taken| taken.name == measure)
        .filter_map(|taken| match &taken.values {
            Values::Outcomes(outcomes) => Some(outcomes.clone()),
            Values::Samples(_) => None,
        })
        .flatten()
        .collect();
    let won = outcomes.iter().filter(|trial| **trial == Trial::Success);
    (won.count(), outcomes.len())
}

// The stack decides how well it goes: now and then an answer of it takes longer than a
// tester waits. What is asserted here is the tester's own: who tries what, and that
// nothing counts that did not happen.

const NODES: usize = 4;
const OTHERS: usize = NODES - 1;

fn sizes(sizes: &[usize]) -> Value {
    json!({ "sizes": sizes })
}

fn phase(phase: &str) -> Value {
    json!({ "phase": phase })
}

/// Why trials failed, the first of each tester.
fn failures(done: &[Performed], measure: &str) -> Vec<String> {
    let taken = done.iter().flat_map(|performed| &performed.measures);
    taken
        .filter(|taken| taken.name == measure)
        .filter_map(|taken| taken.detail.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_node_brings_a_chunk_out_and_back() {
    let mut field = Field::new(NODES);
    field.start("health", sizes(&[1024])).await;
    field.step("health", "pay", Value::Null).await;
    let done = field.turns("health", "check", Value::Null).await;
    assert_eq!(count(&done, "node_up").1, NODES);
    let (healthy, trials) = count(&done, "healthy");
    assert_eq!(trials, NODES);
    assert!(healthy > 0, "{:?}", failures(&done, "healthy"));
    field.step("health", "end", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_asked_for_after_a_restart_and_a_loss() {
    let mut field = Field::new(NODES);
    field.start("retrieval", sizes(&[1024, 262_144])).await;
    field.step("retrieval", "pay", Value::Null).await;
    let done = field.turns("retrieval", "store", Value::Null).await;
    assert_eq!(count(&done, "stored").1, 2 * NODES);
    // Whatever was acknowledged is there.
    let done = field.step("retrieval", "keep", Value::Null).await;
    let (kept, copies) = count(&done, "kept");
    assert!(kept == copies && copies > 0, "{kept} of {copies}");
    let done = field.step("retrieval", "fetch", phase("stored")).await;
    let (had, trials) = count(&done, "retrieved");
    assert_eq!(trials, 2 * NODES * OTHERS);
    assert!(had > 0, "{:?}", failures(&done, "retrieved"));
    // Nodes 0 and 1 end in order; 0 comes back, and does not hear of 1 any more.
    for place in [0, 1] {
        field.end_process("retrieval", place).await;
    }
    field.is_lost[1] = true;
    let done = field.step("retrieval", "resume", Value::Null).await;
    assert!(!done[0].said.is_null(), "it has its directory");
    field.step("retrieval", "join", Value::Null).await;
    let done = field.step("retrieval", "keep", phase("restarted")).await;
    let (kept, copies) = count(&done, "kept");
    assert!(kept == copies && copies > 0, "{kept} of {copies}");
    // The others go on asking for what the lost one had stored.
    let done = field.step("retrieval", "fetch", phase("lost")).await;
    assert_eq!(count(&done, "retrieved").1, 2 * (2 * OTHERS + OTHERS - 1));
    field.step("retrieval", "end", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_stored_is_not() {
    let mut field = Field::new(NODES);
    field.start("storage", sizes(&[1024])).await;
    // Nothing is marked as paid.
    let done = field.turns("storage", "store", Value::Null).await;
    assert_eq!(count(&done, "stored"), (0, NODES));
    let done = field.turns("storage", "refuse", Value::Null).await;
    let (refused, trials) = count(&done, "refused");
    assert_eq!(trials, 3 * NODES);
    assert!(refused > 0, "{:?}", failures(&done, "refused"));
    for why in failures(&done, "refused") {
        assert!(!why.contains("says Success"), "{why}");
    }
    field.step("storage", "end", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_damaged_shows() {
    let mut field = Field::new(NODES);
    field.start("damage", sizes(&[16_384])).await;
    field.step("damage", "pay", Value::Null).await;
    field.turns("damage", "store", Value::Null).await;
    field.end_process("damage", 0).await;
    // What a chunk that node 0 holds begins with, with one bit of it turned over.
    let root = steps::root(&field.call(0, "damage", "resume", &Value::Null));
    let file = root.join("chunks.mdb").join("data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let held = field.contents.iter().find_map(|content| {
        let at = bytes
            .windows(64)
            .position(|window| window == &content[..64]);
        at.filter(|_| !content.is_empty())
    });
    bytes[held.expect("node 0 holds a chunk of somebody")] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    field.step("damage", "resume", Value::Null).await;
    let done = field.step("damage", "keep", phase("restarted")).await;
    let (kept, copies) = count(&done, "kept");
    assert_eq!(kept + 1, copies, "{:?}", failures(&done, "kept"));
    field.step("damage", "end", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_waits_for_what_it_missed() {
    let mut field = Field::new(NODES);
    field.start("sync", sizes(&[1024])).await;
    field.step("sync", "pay", Value::Null).await;
    let done = field.step("sync", "known", Value::Null).await;
    assert_eq!(count(&done, "known").1, NODES * OTHERS);
    let done = field.turns("sync", "closest", Value::Null).await;
    assert_eq!(count(&done, "closest_found").1, NODES);
    field.end_process("sync", 0).await;
    field.turns("sync", "store", Value::Null).await;
    field.step("sync", "resume", Value::Null).await;
    field.step("sync", "join", Value::Null).await;
    field.step("sync", "known", phase("returned")).await;
    // With two others there, no chunk has three copies: nobody owes anything.
    let done = field.step("sync", "sync", Value::Null).await;
    assert_eq!(count(&done, "synced").1, 0);
    field.step("sync", "end", Value::Null).await;
}
