//! The suites `connectivity` and `nat-traversal`: every cell once, then cells of
//! undecided criteria again, until the data decide or the budget is spent.

use std::collections::{HashMap, HashSet, VecDeque};

use model::attempt::{Attempt, Cell, Matrix, ObservedPath, Pair};
use model::cells::{Kind, kind};
use model::judge::Want;
use model::nat::theory::Prediction;
use model::suite::{Driver, Suite};

use crate::recorder::RecordError;
use crate::steps::StepError;
use crate::suite::context::Context;
use crate::suite::matrix::MatrixRun;

/// Attempts at least of every pair of NAT behaviours, in `nat-traversal`.
const EACH_KIND: usize = 3;

pub async fn perform(context: &Context<'_>, suite: &Suite) -> Result<(), StepError> {
    let rounds = Rounds {
        context,
        suite,
        cells: context.cells(suite),
    };
    rounds.run().await?;
    rounds.record_findings()?;
    Ok(())
}

struct Rounds<'a> {
    context: &'a Context<'a>,
    suite: &'a Suite,
    cells: Vec<Cell>,
}

impl Rounds<'_> {
    async fn run(&self) -> Result<(), RecordError> {
        let testers = self.context.testers;
        let terms = self.context.terms(&testers.stack_coordinators);
        let run = self
            .context
            .matrix(Matrix::Stack, &self.suite.name, &terms, &testers.stack);
        self.context
            .doing(&format!("{}: every pair once", self.suite.name));
        self.context.planned(Matrix::Stack, self.cells.len());
        run.run(self.untried(), |queue| {
            queue.retain(|cell| self.context.is_usable(cell))
        })
        .await?;
        self.cover_kinds(&run).await?;
        loop {
            let more = self.next_round();
            if more.is_empty() {
                return Ok(());
            }
            self.context.doing("more rounds, until the data decide");
            let done = self.context.attempts(&self.suite.name).len();
            self.context.planned(Matrix::Stack, done + more.len());
            let ended = run.run(more, |queue| self.keep_open(queue)).await?;
            if ended.is_empty() {
                return Ok(());
            }
        }
    }

    /// Where NATs are the question, every pair of their behaviours is tried often
    /// enough, each time with fresh ports and identities.
    async fn cover_kinds(&self, run: &MatrixRun<'_>) -> Result<(), RecordError> {
        if self.suite.driver != Driver::NatTraversal {
            return Ok(());
        }
        let mut had: HashMap<Option<Kind>, usize> = HashMap::new();
        let plan = self.context.plan;
        for attempt in self.context.attempts(&self.suite.name) {
            let pair = &attempt.start.cell.pair;
            *had.entry(kind(plan, pair)).or_default() += 1;
        }
        let usable = self.cells.iter().filter(|c| self.context.is_usable(c));
        let mut more = Vec::new();
        for cell in usable.cycle().take(self.cells.len() * EACH_KIND) {
            let had = had.entry(kind(plan, &cell.pair)).or_default();
            if *had < EACH_KIND {
                *had += 1;
                more.push(cell.clone());
            }
        }
        self.context.doing("every pair of NAT behaviours again");
        let keep = |queue: &mut VecDeque<Cell>| queue.retain(|c| self.context.is_usable(c));
        run.run(more, keep).await?;
        Ok(())
    }

    /// All cells, but those that were tried before this TEST was interrupted.
    fn untried(&self) -> Vec<Cell> {
        let attempts = self.context.attempts(&self.suite.name);
        let over = attempts.iter().filter(|a| !a.was_interrupted());
        let tried: HashSet<&Pair> = over.map(|a| &a.start.cell.pair).collect();
        let cells = self.cells.iter();
        cells
            .filter(|cell| !tried.contains(&cell.pair))
            .cloned()
            .collect()
    }

    /// For every undecided criterion, as many cells as would settle it if all
    /// went well, in turn, within the budget.
    fn next_round(&self) -> Vec<Cell> {
        let mut round = Vec::new();
        for want in self.context.wants(&self.suite.name) {
            let cells: Vec<&Cell> = self
                .cells
                .iter()
                .filter(|cell| counts_for(cell, &want) && self.context.is_usable(cell))
                .collect();
            let left = (self.context.plan.budget as usize).saturating_sub(want.had);
            let wanted = usize::try_from(want.more).unwrap_or(usize::MAX).min(left);
            round.extend(
                cells
                    .into_iter()
                    .cycle()
                    .skip(want.had)
                    .take(wanted)
                    .cloned(),
            );
        }
        interleave(round)
    }

    /// Keeps the cells that can still tell us something.
    fn keep_open(&self, queue: &mut VecDeque<Cell>) {
        let wants = self.context.wants(&self.suite.name);
        queue.retain(|cell| {
            wants.iter().any(|want| counts_for(cell, want)) && self.context.is_usable(cell)
        });
    }

    /// What no criterion judges and a reader should know.
    fn record_findings(&self) -> Result<(), RecordError> {
        let attempts = self.context.attempts(&self.suite.name);
        let disagree: Vec<&Attempt> = attempts.iter().filter(|a| a.disagrees()).collect();
        if let Some(first) = disagree.first() {
            self.context.find(format!(
                "in {} of {} attempts the stack's claim differs from the counted packets; the first is {}, {}: claimed {}, observed {}",
                disagree.len(),
                attempts.len(),
                first.start.id.0,
                first.start.cell.pair,
                first.claimed,
                first.observed.path
            ))?;
        }
        let impossible = attempts.iter().filter(|a| {
            a.start.cell.predicted == Prediction::Never && a.observed.path == ObservedPath::Direct
        });
        for attempt in impossible {
            self.context.find(format!(
                "{}: a direct path where theory says never",
                attempt.start.cell.pair
            ))?;
        }
        Ok(())
    }
}

/// A category's cells count for it, and every cell for what all attempts carry.
fn counts_for(cell: &Cell, want: &Want) -> bool {
    let category = cell.category.to_string();
    let categories = ["direct", "nat_traversed", "relay"];
    category == want.measure || !categories.contains(&want.measure.as_str())
}

/// The slow cells first: what waits for time-outs may as well wait side by side.
fn interleave(mut cells: Vec<Cell>) -> Vec<Cell> {
    cells.sort_by_key(|cell| cell.predicted);
    cells
}
