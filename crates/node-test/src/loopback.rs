//! The suites with several testers in this process, over loopback.

use std::net::SocketAddr;

use agent::Tester as _;
use futures::future::join_all;
use model::measure::{Trial, Values};
use model::protocol::{AttemptId, Fellow, Perform, Performed};
use serde_json::{Value, json};

use crate::tester::NodeTester;

struct Field {
    testers: Vec<NodeTester>,
    binds: Vec<SocketAddr>,
    said: Vec<Value>,
}

impl Field {
    fn new(size: usize) -> Self {
        Self {
            testers: (0..size).map(|_| NodeTester::default()).collect(),
            binds: (0..size).map(|_| free()).collect(),
            said: vec![Value::Null; size],
        }
    }

    /// One after the other, as the engine lets nodes start.
    async fn start(&mut self, suite: &str, params: Value) {
        for place in 0..self.testers.len() {
            let call = self.call(place, suite, "start", &params);
            let done = self.testers[place].perform(None, call).await.unwrap();
            self.said[place] = done.said;
        }
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

    /// All testers at once, as the engine does it; what they measured.
    async fn step(&mut self, suite: &str, step: &str, params: Value) -> Vec<Performed> {
        let calls = (0..self.testers.len())
            .map(|place| self.testers[place].perform(None, self.call(place, suite, step, &params)));
        let done: Vec<Performed> = join_all(calls)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        for (said, performed) in self.said.iter_mut().zip(&done) {
            if !performed.said.is_null() {
                *said = performed.said.clone();
            }
        }
        for taken in done.iter().flat_map(|performed| &performed.measures) {
            println!(
                "{step}: {} {:?} {:?} {:?}",
                taken.name, taken.conditions, taken.values, taken.detail
            );
        }
        done
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

const NODES: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn chunks_go_to_others_and_come_back_by_hash() {
    let mut field = Field::new(NODES);
    let params = json!({ "sizes": [1024, 262_144] });
    field.start("retrieval", params).await;
    field.step("retrieval", "pay", Value::Null).await;
    let done = field.step("retrieval", "store", Value::Null).await;
    assert_eq!(count(&done, "stored"), (2 * NODES, 2 * NODES));
    let done = field
        .step("retrieval", "fetch", json!({ "phase": "stored" }))
        .await;
    let trials = 2 * NODES * (NODES - 1);
    assert_eq!(count(&done, "retrieved"), (trials, trials));
    let done = field.step("storage", "refuse", Value::Null).await;
    assert!(
        done.iter().all(|d| d.measures.is_empty()),
        "another session"
    );
    let done = field.step("retrieval", "refuse", Value::Null).await;
    assert_eq!(count(&done, "refused").1, 3 * NODES);
    // A tester whose process ended, and whose directory is still there.
    field.testers[0] = NodeTester::default();
    field.binds[0] = free();
    field.step("retrieval", "end", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_node_brings_a_chunk_out_and_back() {
    let mut field = Field::new(3);
    field
        .start("health", json!({ "sizes": [1024], "each": 2 }))
        .await;
    field.step("health", "pay", Value::Null).await;
    let done = field.step("health", "check", Value::Null).await;
    assert_eq!(count(&done, "node_up"), (3, 3));
    assert_eq!(count(&done, "healthy"), (6, 6));
    field.step("health", "end", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tester_that_was_ended_goes_on_from_its_directory() {
    let mut field = Field::new(NODES);
    field.start("resumed", json!({ "sizes": [1024] })).await;
    field.step("resumed", "pay", Value::Null).await;
    field.step("resumed", "store", Value::Null).await;
    // Its process ended, and the port with it.
    let name = field.testers[0].describe().tester;
    field.testers[0] = NodeTester::default();
    let (old, new) = (field.binds[0], free());
    let rest = field
        .step("resumed", "fetch", json!({ "phase": "lost" }))
        .await;
    assert!(rest[0].measures.is_empty(), "{name} on {old} knows nothing");
    drop(new);
    field.step("resumed", "end", Value::Null).await;
}
