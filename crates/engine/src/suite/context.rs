//! What every suite works with.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use model::attempt::{Attempt, Cell, Matrix, Pair};
use model::cells::cells;
use model::event::{Event, Plan};
use model::family::Family;
use model::inventory::{NodeName, PeerId};
use model::judge::{self, Want};
use model::measure::{Measured, Trial, Values};
use model::protocol::{Failure, Reason};
use model::suite::{Suite, SuiteName};

use crate::agent::AgentError;
use crate::attempt::{End, Terms};
use crate::capture::Captures;
use crate::live::Testers;
use crate::recorder::{Progress, RecordError, Recorder};
use crate::settings::Settings;
use crate::steps::StepError;
use crate::suite::matrix::{MatrixRun, lost_host};
use crate::suite::schedule::Limits;
use crate::tester::Tester;

const EXCHANGE: Duration = Duration::from_secs(20);

/// Plain UDP gives up earlier than a stack: it has one handshake and no relay.
const REFERENCE_RUNG: Duration = Duration::from_secs(5);

/// One TEST.
pub struct Context<'a> {
    pub settings: &'a Settings,
    pub recorder: &'a Recorder,
    pub testers: &'a Testers,
    pub plan: &'a Plan,
    pub cycle: u32,
    pub pass: u32,
    pub captures: Captures,
}

impl<'a> Context<'a> {
    /// A suite's cells, of those whose two peers take part.
    pub fn cells(&self, suite: &Suite) -> Vec<Cell> {
        let takes_part = |peer: &PeerId| self.testers.stack.contains_key(peer);
        let mut cells = cells(self.plan, suite);
        cells.retain(|cell| takes_part(&cell.pair.caller()) && takes_part(&cell.pair.callee()));
        cells
    }

    /// Neither node was lost on the way.
    pub fn is_usable(&self, cell: &Cell) -> bool {
        let ends = cell.pair.nodes();
        self.recorder
            .with(|run| !ends.iter().any(|node| run.degraded.contains_key(*node)))
    }

    /// The nodes that have testers now, with an address of this family, in the plan's order.
    pub fn usable_nodes(&self, family: Family) -> Vec<NodeName> {
        let planned = self.plan.nodes.iter().map(|node| &node.name);
        let there = planned.filter(|name| {
            let tester = self.testers.first_of(name);
            tester.is_some_and(|tester| tester.address(family).is_some())
        });
        self.recorder.with(|run| {
            there
                .filter(|name| !run.degraded.contains_key(*name))
                .cloned()
                .collect()
        })
    }

    /// What is to be tried more of, for the criteria about a suite to be decided.
    pub fn wants(&self, suite: &SuiteName) -> Vec<Want> {
        self.recorder.with(|run| {
            let yielded = run.yielded(self.cycle, self.pass);
            judge::wants(self.plan, &yielded, suite)
        })
    }

    /// The stack's attempts of a suite in this TEST so far.
    pub fn attempts(&self, suite: &SuiteName) -> Vec<Attempt> {
        self.recorder.with(|run| {
            run.judged_attempts(self.cycle, self.pass)
                .into_iter()
                .filter(|a| a.start.suite == *suite)
                .cloned()
                .collect()
        })
    }

    /// A tester that does not know the suite is the wrong tester: nothing would be learnt.
    pub fn check_capability(&self, suite: &Suite) -> Result<(), StepError> {
        let wanted = format!("suite:{}", suite.name);
        let lacking = self.testers.stack.values().find_map(|tester| {
            let hello = tester.hello();
            (!hello.capabilities.contains(&wanted)).then(|| hello.tester.clone())
        });
        match lacking {
            None => Ok(()),
            Some(tester) => Err(StepError::Infrastructure(format!(
                "{tester} does not know the suite `{}`: its hello lists no capability `{wanted}`",
                suite.name
            ))),
        }
    }

    /// After an interruption, rounds go on counting.
    pub fn first_round(&self, suite: &Suite) -> u32 {
        self.recorder.with(|run| {
            let yielded = run.yielded(self.cycle, self.pass);
            let ours = yielded.measured.iter().filter(|m| m.suite == suite.name);
            ours.map(|m| m.round + 1).max().unwrap_or(0)
        })
    }

    /// Of a suite that goes on in rounds.
    pub fn wants_another_round(&self, suite: &Suite) -> bool {
        self.recorder.with(|run| {
            let yielded = run.yielded(self.cycle, self.pass);
            judge::wants_another_round(self.plan, &yielded, &suite.name)
        })
    }

    /// Fresh ends of an attempt in a cell.
    ///
    /// # Errors
    /// No tester runs there, or none with an address of the cell's family.
    pub async fn ends(
        &self,
        testers: &HashMap<PeerId, Tester>,
        cell: &Cell,
    ) -> Result<[End; 2], AgentError> {
        let end = async |peer: PeerId| {
            let end = match testers.get(&peer) {
                Some(tester) => tester.end(cell.pair.family).await,
                None => Err(format!("no tester runs as {peer}")),
            };
            end.map_err(|detail| AgentError::Failed {
                node: peer.node.clone(),
                method: "prepare",
                failure: Failure::new(Reason::Infrastructure, detail),
            })
        };
        Ok([
            end(cell.pair.caller()).await?,
            end(cell.pair.callee()).await?,
        ])
    }

    /// Whether a relay between these two is a third host. Relays are coordinators.
    pub fn has_third_hosts(&self, pair: &Pair) -> bool {
        let mut coordinators = self.settings.bootstrap.iter();
        !coordinators.any(|(node, _)| pair.nodes().contains(&node))
    }

    /// A failure of a pair whose host is gone is none of the stack.
    pub async fn blame_lost_host(
        &self,
        pair: &Pair,
        trial: Trial,
        detail: Option<String>,
    ) -> Result<(Trial, Option<String>), RecordError> {
        if trial == Trial::Success {
            return Ok((trial, detail));
        }
        let lost = lost_host(self.recorder, &self.testers.stack, pair).await?;
        Ok(match lost {
            Some(reason) => (Trial::Infrastructure, Some(reason)),
            None => (trial, detail),
        })
    }

    pub fn taking(&self, suite: &'a Suite, round: u32) -> Taking<'_> {
        Taking {
            context: self,
            suite,
            round,
        }
    }

    pub fn find(&self, detail: String) -> Result<(), RecordError> {
        self.recorder.record(Event::Finding { detail })
    }

    pub fn terms(&self, coordinators: &[SocketAddr]) -> Terms {
        Terms {
            coordinators: coordinators.to_vec(),
            payload_bytes: self.plan.payload_bytes,
            rung_timeout: Duration::from_millis(self.plan.timeout_ms),
            exchange_timeout: EXCHANGE,
            observers: self.settings.observers.clone(),
            hosts: {
                let nodes = self.settings.fleet.nodes.iter();
                nodes.flat_map(fleet::outer_addresses).collect()
            },
            nats: self.recorder.with(|run| {
                let measured = run.nats.values().chain(run.firewalls.values());
                measured
                    .map(|nat| ((nat.node.clone(), nat.family), nat.certificate.clone()))
                    .collect()
            }),
        }
    }

    /// Of plain UDP.
    pub fn reference_terms(&self) -> Terms {
        Terms {
            rung_timeout: REFERENCE_RUNG,
            ..self.terms(&self.testers.reference_coordinators)
        }
    }

    pub fn matrix<'m>(
        &'m self,
        matrix: Matrix,
        suite: &SuiteName,
        terms: &'m Terms,
        testers: &'m HashMap<PeerId, Tester>,
    ) -> MatrixRun<'m> {
        let limits = self.settings.config.tests.connectivity.concurrency;
        MatrixRun {
            matrix,
            suite: suite.clone(),
            cycle: self.cycle,
            pass: self.pass,
            recorder: self.recorder,
            terms,
            testers,
            captures: &self.captures,
            limits: Limits {
                total: limits.total,
                per_node: limits.per_node,
            },
        }
    }

    pub fn doing(&self, what: &str) {
        self.recorder.progress(&Progress::Doing(what.into()));
    }

    pub fn planned(&self, matrix: Matrix, attempts: usize) {
        self.recorder
            .progress(&Progress::Planned { matrix, attempts });
    }
}

/// Takes values down, in one round of a suite.
#[derive(Clone, Copy)]
pub struct Taking<'a> {
    context: &'a Context<'a>,
    suite: &'a Suite,
    round: u32,
}

/// One measure's, without where and when.
pub struct Value<'a> {
    pub measure: &'a str,
    pub conditions: BTreeMap<String, String>,
    pub values: Values,
    pub detail: Option<String>,
}

impl Taking<'_> {
    /// Of this round.
    pub fn id(&self) -> String {
        let (cycle, pass) = (self.context.cycle, self.context.pass);
        format!("{}-{cycle}.{pass}-{:04}", self.suite.name, self.round)
    }

    /// At a node, or of the fleet.
    pub fn at(&self, node: Option<&NodeName>, value: Value<'_>) -> Result<(), RecordError> {
        self.record(node.cloned(), None, value)
    }

    pub fn between(&self, pair: &Pair, value: Value<'_>) -> Result<(), RecordError> {
        self.record(Some(pair.from.clone()), Some(pair.to.clone()), value)
    }

    fn record(
        &self,
        from: Option<NodeName>,
        to: Option<NodeName>,
        value: Value<'_>,
    ) -> Result<(), RecordError> {
        let measured = Measured {
            suite: self.suite.name.clone(),
            measure: value.measure.to_owned(),
            cycle: self.context.cycle,
            pass: self.context.pass,
            round: self.round,
            from,
            to,
            conditions: value.conditions,
            values: value.values,
            detail: value.detail,
        };
        let event = Event::Measured(Box::new(measured));
        self.context.recorder.record(event)
    }
}
