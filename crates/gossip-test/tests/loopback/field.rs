//! Testers that are called as the engine calls them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use agent::Tester;
use futures::future::join_all;
use gossip_test::{GossipTester, Suites};
use model::measure::{Trial, Values};
use model::protocol::{AttemptId, Fellow, Perform, Performed, Taken};
use serde_json::Value;

pub struct Field {
    runtime: tokio::runtime::Runtime,
    suite: &'static str,
    coordinator: SocketAddr,
    testers: BTreeMap<String, Suites>,
    binds: BTreeMap<String, SocketAddr>,
    said: BTreeMap<String, Value>,
    absent: Vec<String>,
    taken: Vec<Taken>,
    pub details: Vec<String>,
}

impl Field {
    pub fn new(suite: &'static str, peers: usize) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let coordinator = free_port();
        runtime.spawn(async move {
            let serving = GossipTester::default();
            serving.coordinate(coordinator, Vec::new()).await.unwrap();
        });
        let names: Vec<String> = (0..peers).map(|n| format!("node-{n}")).collect();
        Self {
            runtime,
            suite,
            coordinator,
            testers: names
                .iter()
                .map(|n| (n.clone(), Suites::default()))
                .collect(),
            binds: names.iter().map(|n| (n.clone(), free_port())).collect(),
            said: BTreeMap::new(),
            absent: Vec::new(),
            taken: Vec::new(),
            details: Vec::new(),
        }
    }

    pub fn every(&mut self, step: &str, params: Value) {
        let names: Vec<String> = self.testers.keys().cloned().collect();
        self.step(&names, step, &params);
    }

    pub fn turns(&mut self, step: &str, params: Value) {
        for name in self.testers.keys().cloned().collect::<Vec<_>>() {
            self.step(&[name], step, &params);
        }
    }

    pub fn one(&mut self, place: usize, step: &str, params: Value) {
        self.step(&[format!("node-{place}")], step, &params);
    }

    /// Its peer is dropped without a goodbye, and its successor knows nothing.
    pub fn crash(&mut self, place: usize) {
        let name = format!("node-{place}");
        self.testers.insert(name.clone(), Suites::default());
        self.absent.push(name);
    }

    fn step(&mut self, names: &[String], step: &str, params: &Value) {
        let field = &*self;
        let calls = names.iter().map(|name| async move {
            let call = field.call(name, step, params.clone());
            (
                name.clone(),
                field.testers[name].perform(call).await.unwrap(),
            )
        });
        let answers: Vec<(String, Performed)> = self.runtime.block_on(join_all(calls));
        for (name, performed) in answers {
            if !performed.said.is_null() {
                self.said.insert(name.clone(), performed.said);
            }
            for taken in performed.measures {
                self.details.extend(taken.detail.as_ref().map(|why| {
                    format!(
                        "{name}: {step}: {} {:?}: {why}",
                        taken.name, taken.conditions
                    )
                }));
                self.taken.push(taken);
            }
        }
    }

    fn call(&self, name: &str, step: &str, params: Value) -> Perform {
        let others = self.said.iter().filter(|(other, _)| *other != name);
        Perform {
            session: AttemptId(format!("{}-0.0-0000", self.suite)),
            suite: self.suite.into(),
            step: step.into(),
            node: name.into(),
            cut_off: Vec::new(),
            absent: self.absent.clone(),
            bind: Some(self.binds[name]),
            coordinators: vec![self.coordinator],
            fellows: others
                .map(|(node, said)| Fellow {
                    node: node.clone(),
                    said: said.clone(),
                })
                .collect(),
            params,
            timeout_ms: 17_000,
        }
    }

    pub fn samples(&self, name: &str) -> Vec<f64> {
        let named = self.taken.iter().filter(|taken| taken.name == name);
        named
            .flat_map(|taken| match &taken.values {
                Values::Samples(numbers) => numbers.clone(),
                Values::Outcomes(_) => Vec::new(),
            })
            .collect()
    }

    /// Successes and failures.
    pub fn trials(&self, name: &str) -> (usize, usize) {
        count(self.taken.iter().filter(|taken| taken.name == name))
    }

    pub fn agreed(&self, crdt: &str) -> (usize, usize) {
        let is_it = |taken: &&Taken| {
            taken.name == "agreed" && taken.conditions.get("crdt").is_some_and(|c| c == crdt)
        };
        count(self.taken.iter().filter(is_it))
    }
}

fn count<'a>(taken: impl Iterator<Item = &'a Taken>) -> (usize, usize) {
    let trials: Vec<Trial> = taken
        .flat_map(|taken| match &taken.values {
            Values::Outcomes(trials) => trials.clone(),
            Values::Samples(_) => Vec::new(),
        })
        .collect();
    let of = |wanted| trials.iter().filter(|trial| **trial == wanted).count();
    (of(Trial::Success), of(Trial::Failure))
}

fn free_port() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .unwrap()
}
