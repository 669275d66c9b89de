//! Runs cells side by side and journals every attempt.

use std::collections::HashMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::attempt::{Attempt, AttemptStart, Cell, Endpoints, Matrix, Observed, Outcome};
use model::event::Event;
use model::inventory::{NodeName, PeerId};
use model::protocol::{AttemptId, ClaimedPath, Reason};

use crate::attempt::{Terms, drive};
use crate::recorder::{RecordError, Recorder};
use crate::suite::schedule::{Limits, Schedule};
use crate::tester::Tester;

/// One matrix of one TEST.
pub struct MatrixRun<'a> {
    pub matrix: Matrix,
    pub cycle: u32,
    pub pass: u32,
    pub recorder: &'a Recorder,
    pub terms: &'a Terms,
    pub testers: &'a HashMap<PeerId, Tester>,
    pub limits: Limits,
}

impl MatrixRun<'_> {
    /// Runs every cell once that is still wanted when its turn comes. Returns the attempts in the order they ended.
    pub async fn run(
        &self,
        cells: impl IntoIterator<Item = Cell>,
        is_wanted: impl Fn(&Cell) -> bool,
    ) -> Result<Vec<Attempt>, RecordError> {
        let mut schedule = Schedule::new(cells, self.limits);
        let mut running = FuturesUnordered::new();
        let mut ended = Vec::new();
        let mut position = self.positions_used();
        loop {
            while let Some((cell, at_once)) = schedule.next(&is_wanted) {
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
        self.recorder
            .record(Event::AttemptFinished(Box::new(attempt.clone())))?;
        Ok(attempt)
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
        for peer in [pair.caller(), pair.callee()] {
            let Some(tester) = self.testers.get(&peer) else {
                continue;
            };
            let node = &peer.node;
            if self.is_degraded(node) || tester.host.is_reachable().await {
                continue;
            }
            let reason = format!("{node} does not answer over SSH any more");
            attempt.outcome = Outcome::Infrastructure {
                detail: reason.clone(),
            };
            self.recorder.record(Event::NodeDegraded {
                node: node.clone(),
                reason,
            })?;
            break;
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

    fn id(&self, position: u32) -> AttemptId {
        let matrix = match self.matrix {
            Matrix::Reference => "reference",
            Matrix::Stack => "stack",
        };
        AttemptId(format!(
            "{matrix}-{}.{}-{position:04}",
            self.cycle, self.pass
        ))
    }

    /// A TEST that is run again after an interruption goes on counting.
    fn positions_used(&self) -> u32 {
        self.recorder.with(|run| {
            let ours = |s: &AttemptStart| {
                (s.matrix, s.cycle, s.pass) == (self.matrix, self.cycle, self.pass)
            };
            let finished = run.attempts.iter().map(|a| &a.start);
            finished
                .chain(run.in_flight.values())
                .filter(|s| ours(s))
                .map(|s| s.position + 1)
                .max()
                .unwrap_or(0)
        })
    }
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
    }
}
