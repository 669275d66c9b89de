//! The suites with several testers in this process, over loopback.

use std::net::SocketAddr;

use agent::Tester as _;
use futures::future::join_all;
use model::measure::{Trial, Values};
use model::protocol::{AttemptId, Fellow, Perform, Performed};
use serde_json::{Value, json};

use crate::tester::CoreTester;

struct Field {
    testers: Vec<CoreTester>,
    binds: Vec<SocketAddr>,
    said: Vec<Value>,
    coordinators: Vec<SocketAddr>,
}

impl Field {
    fn new(size: usize) -> Self {
        Self {
            testers: (0..size).map(|_| CoreTester::default()).collect(),
            binds: (0..size).map(|_| free()).collect(),
            said: vec![Value::Null; size],
            coordinators: Vec::new(),
        }
    }

    /// Two public peers that know each other.
    fn with_coordinators(mut self) -> Self {
        self.coordinators = vec![free(), free()];
        for at in self.coordinators.clone() {
            let partners = self.coordinators.clone();
            let partners = partners.into_iter().filter(|other| *other != at).collect();
            tokio::spawn(async move { CoreTester::default().coordinate(at, partners).await });
        }
        self
    }

    /// All testers at once, as the engine does it; what they measured.
    async fn step(&mut self, suite: &str, step: &str, params: Value) -> Vec<Performed> {
        let calls = (0..self.testers.len()).map(|place| {
            let fellows = (0..self.testers.len()).filter(|other| *other != place);
            let call = Perform {
                session: AttemptId(format!("{suite}-0")),
                suite: suite.into(),
                step: step.into(),
                node: format!("n{place}"),
                cut_off: Vec::new(),
                absent: Vec::new(),
                bind: Some(self.binds[place]),
                coordinators: self.coordinators.clone(),
                fellows: fellows
                    .map(|other| Fellow {
                        node: format!("n{other}"),
                        said: self.said[other].clone(),
                    })
                    .collect(),
                params: params.clone(),
                timeout_ms: 20_000,
            };
            self.testers[place].perform(None, call)
        });
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

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_does_what_its_documentation_says() {
    let mut field = Field::new(1);
    let mut done = Vec::new();
    for step in ["start", "health", "addresses", "stop", "restart", "end"] {
        done.extend(field.step("unit", step, Value::Null).await);
    }
    let (won, trials) = count(&done, "checks");
    assert!(trials >= 20, "{trials}");
    // saorsa-core 0.29.2 keeps its socket after stop(), and after the drop.
    assert!(won + 2 >= trials, "{won} of {trials}");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_find_and_ask_each_other() {
    let mut field = Field::new(3).with_coordinators();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    for (step, measure, trials) in [
        ("start", "joined", 3),
        ("lookup", "found", 6),
        ("request", "answered", 6),
        ("leave", "left", 3),
    ] {
        let done = field
            .step("integration", step, json!({ "bytes": 4096 }))
            .await;
        assert_eq!(count(&done, measure), (trials, trials), "{step}");
    }
    field.step("integration", "end", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_operations() {
    let mut field = Field::new(1);
    let params = json!({ "cases": 2, "operations": 6 });
    let done = field.step("property", "operate", params).await;
    let (_, trials) = count(&done, "properties_hold");
    assert_eq!(trials, 2);
    let seeds: Vec<_> = done[0]
        .measures
        .iter()
        .filter_map(|taken| taken.conditions.get("seed"))
        .collect();
    assert_eq!(seeds.len(), 2, "each case has a seed of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tester_that_forgot_its_session_answers_with_nothing() {
    let mut field = Field::new(1);
    for (suite, step) in [
        ("unit", "health"),
        ("integration", "request"),
        ("unit", "end"),
    ] {
        let done = field.step(suite, step, Value::Null).await;
        assert!(done[0].measures.is_empty(), "{suite} {step}");
    }
}
