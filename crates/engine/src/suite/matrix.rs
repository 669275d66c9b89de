//! Runs cells side by side and journals every attempt.

use std::collections::{HashMap, VecDeque};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::attempt::{Attempt, AttemptStart, Cell, Endpoints, Matrix, Observed, Outcome, Pair};
use model::event::Event;
use model::inventory::{NodeName, PeerId};
use model::protocol::{AttemptId, ClaimedPath, Reason};
use model::suite::SuiteName;

use crate::attempt::{Terms, drive};
use crate::capture::Captures;
use crate::recorder::{RecordError, Recorder};
use crate::suite::schedule::{Limits, Schedule};
use crate::tester::Tester;

/// One matrix of one TEST.
pub struct MatrixRun<'a> {
    pub matrix: Matrix,
    pub suite: SuiteName,
    pub cycle: u32,
    pub pass: u32,
    pub recorder: &'a Recorder,
    pub terms: &'a Terms,
    pub testers: &'a HashMap<PeerId, Tester>,
    pub limits: Limits,
    pub captures: &'a Captures,
}

impl MatrixRun<'_> {
    /// Runs every cell once, except those that `prune` takes off the queue before
    /// their turn comes. Returns the attempts in the order they ended.
    pub async fn run(
        &self,
        cells: impl IntoIterator<Item = Cell>,
        prune: impl Fn(&mut VecDeque<Cell>),
    ) -> Result<Vec<Attempt>, RecordError> {
        let mut schedule = Schedule::new(cells, self.limits);
        let mut running = FuturesUnordered::new();
        let mut ended = Vec::new();
        let (matrix, cycle, pass) = (self.matrix, self.cycle, self.pass);
        let mut position = self
            .recorder
            .with(|run| run.next_position(matrix, cycle, pass));
        loop {
            prune(&mut schedule.waiting);
            while let Some((cell, at_once)) = schedule.next() {
                running.push(self.attempt(cell, position, at_once));
                position += 1;
            }
            let Some(attempt) = running.next().await else {
                return Ok(ended);
            };
            let attempt: Attempt = attempt?;
            schedule.ended(&attempt.start.cell.pair);
            ended.push(attempt);
        }
    }

    async fn attempt(
        &self,
        cell: Cell,
        position: u32,
        at_once: u32,
    ) -> Result<Attempt, RecordError> {
        let start = AttemptStart {
            id: self.id(position),
            matrix: self.matrix,
            suite: self.suite.clone(),
            cycle: self.cycle,
            pass: self.pass,
            position,
            cell,
        };
        self.recorder.record(Event::AttemptStarted(start.clone()))?;
        let mut attempt = match self.ends(&start.cell).await {
            Ok((caller, callee)) => drive(self.terms, start, caller, callee, at_once).await,
            Err(detail) => never_began(start, detail, at_once),
        };
        self.blame_lost_host(&mut attempt).await?;
        self.capture(&attempt);
        self.recorder
            .record(Event::AttemptFinished(Box::new(attempt.clone())))?;
        Ok(attempt)
    }

    fn capture(&self, attempt: &Attempt) {
        let pair = &attempt.start.cell.pair;
        let tester = |peer| self.testers.get(&peer);
        if let (Some(from), Some(to)) = (tester(pair.caller()), tester(pair.callee())) {
            self.captures.take(attempt, &from.host, &to.host);
        }
    }

    /// A stack that fell silent may have gone with its host, and then it is not
    /// to blame. The rest of the run goes on without that host.
    async fn blame_lost_host(&self, attempt: &mut Attempt) -> Result<(), RecordError> {
        let silent = [Reason::Timeout, Reason::Closed];
        let is_suspect = match &attempt.outcome {
            Outcome::StackFailure(failure) => silent.contains(&failure.reason),
            Outcome::Infrastructure { .. } => true,
            Outcome::Success => false,
        };
        if !is_suspect {
            return Ok(());
        }
        let pair = &attempt.start.cell.pair;
        if let Some(detail) = lost_host(self.recorder, self.testers, pair).await? {
            attempt.outcome = Outcome::Infrastructure { detail };
        }
        Ok(())
    }

    fn is_degraded(&self, node: &NodeName) -> bool {
        self.recorder.with(|run| run.degraded.contains_key(node))
    }

    async fn ends(
        &self,
        cell: &Cell,
    ) -> Result<(crate::attempt::End, crate::attempt::End), String> {
        let tester = |peer: PeerId| {
            let node = &peer.node;
            if self.is_degraded(node) {
                return Err(format!("{node} is degraded"));
            }
            self.testers
                .get(&peer)
                .ok_or_else(|| format!("no tester runs as {peer}"))
        };
        let (from, to) = (tester(cell.pair.caller())?, tester(cell.pair.callee())?);
        let family = cell.pair.family;
        let (caller, callee) = tokio::join!(from.end(family), to.end(family));
        Ok((caller?, callee?))
    }

    /// Testers outlive a run that was killed, and remember its attempts: the id holds
    /// when the run began.
    fn id(&self, position: u32) -> AttemptId {
        let matrix = match self.matrix {
            Matrix::Reference => "reference",
            Matrix::Stack => "stack",
        };
        let began = self.recorder.with(|run| run.started_at);
        let began = began.map_or(0, |at| at.as_millisecond() & 0xff_ffff);
        AttemptId(format!(
            "{matrix}-{}.{}-{position:04}-{began:06x}",
            self.cycle, self.pass
        ))
    }
}

/// Why one of a pair's hosts is gone, if it is; it takes no part from now on.
pub async fn lost_host(
    recorder: &Recorder,
    testers: &HashMap<PeerId, Tester>,
    pair: &Pair,
) -> Result<Option<String>, RecordError> {
    for peer in [pair.caller(), pair.callee()] {
        let Some(tester) = testers.get(&peer) else {
            continue;
        };
        let node = &peer.node;
        // Others that ran at the same time may have found it out.
        let known = recorder.with(|run| run.degraded.get(node).cloned());
        if known.is_some() {
            return Ok(known);
        }
        if tester.host.is_reachable().await {
            continue;
        }
        let reason = format!("{node} does not answer over SSH any more");
        recorder.record(Event::NodeDegraded {
            node: node.clone(),
            reason: reason.clone(),
        })?;
        return Ok(Some(reason));
    }
    Ok(None)
}

fn never_began(start: AttemptStart, detail: String, at_once: u32) -> Attempt {
    Attempt {
        start,
        outcome: Outcome::Infrastructure { detail },
        observed: Observed::UNMEASURED,
        claimed: ClaimedPath::Unknown,
        rungs: Vec::new(),
        connect_ms: None,
        at_once,
        endpoints: Endpoints::default(),
        explanation: None,
    }
}
