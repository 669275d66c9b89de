//! TEST: measure the NATs, let plain UDP agree with theory, then judge the stack.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use model::attempt::{Attempt, Cell, Matrix, ObservedPath};
use model::cells::{cells, reference_cells};
use model::event::{Event, NatMeasured, Plan};
use model::family::Family;
use model::inventory::PeerId;
use model::judge;
use model::nat::theory::Prediction;
use model::nat::{Behaviour, NatSpec, Observations, classify};
use model::protocol::{Call, Probe, Reflector};
use model::stats::{Criterion, Standing};

use super::{Stage, StepError};
use crate::attempt::Terms;
use crate::deployment::PROBE_PORTS;
use crate::live::Testers;
use crate::recorder::{Progress, RecordError, Recorder};
use crate::settings::Settings;
use crate::suite::matrix::MatrixRun;
use crate::suite::schedule::Limits;
use crate::tester::Tester;

/// How long a prober waits for a datagram before it counts as filtered.
const PATIENCE: Duration = Duration::from_millis(1500);

/// All of a certificate's probes, one after the other.
const PROBING: Duration = Duration::from_secs(30);

/// Plain UDP gives up earlier than a stack: it has one handshake and no relay.
const REFERENCE_RUNG: Duration = Duration::from_secs(5);

const EXCHANGE: Duration = Duration::from_secs(20);

pub async fn perform(stage: &mut Stage<'_>) -> Result<(), StepError> {
    // In a wait of hours the laptop may have slept and a host may have rebooted.
    if !stage.live.is_reachable().await {
        stage.live.hosts.clear();
        super::setup::perform(stage).await?;
        super::deploy::perform(stage).await?;
    }
    let testers = stage.live.testers.as_ref();
    let testers =
        testers.ok_or_else(|| StepError::Infrastructure("nothing was deployed".into()))?;
    let plan = stage.recorder.with(|run| run.plan.clone());
    let plan = plan.ok_or_else(|| StepError::Infrastructure("the run has no plan".into()))?;
    let test = Test::new(stage.settings, stage.recorder, testers, &plan);
    test.certify_nats().await?;
    test.compare_reference_with_theory().await?;
    test.judge_stack().await
}

struct Test<'a> {
    settings: &'a Settings,
    recorder: &'a Recorder,
    testers: &'a Testers,
    plan: &'a Plan,
    cycle: u32,
    pass: u32,
    /// Those whose two nodes take part.
    cells: Vec<Cell>,
}

impl<'a> Test<'a> {
    fn new(
        settings: &'a Settings,
        recorder: &'a Recorder,
        testers: &'a Testers,
        plan: &'a Plan,
    ) -> Self {
        let (cycle, pass) = recorder.with(|run| (run.cycle, run.pass));
        let takes_part = |peer: &PeerId| testers.stack.contains_key(peer);
        let mut cells = cells(plan);
        cells.retain(|cell| takes_part(&cell.pair.caller()) && takes_part(&cell.pair.callee()));
        Self {
            settings,
            recorder,
            testers,
            plan,
            cycle,
            pass,
            cells,
        }
    }

    /// A box that is not what its label says ends the run: nothing that is
    /// tested behind it would mean what it seems to mean.
    async fn certify_nats(&self) -> Result<(), StepError> {
        self.doing("measuring the NATs");
        let boxed: Vec<(&Tester, NatSpec, Family)> = self
            .testers
            .reference
            .values()
            .filter_map(|tester| Some((tester, tester.host.node.nat.as_ref()?.spec)))
            .flat_map(|(tester, label)| {
                let families = self.plan.families.iter();
                let spoken = families.filter(|family| tester.address(**family).is_some());
                spoken.map(move |family| (tester, label, *family))
            })
            .collect();
        let measured = join_all(
            boxed
                .iter()
                .map(|(tester, label, family)| self.measure(tester, *label, *family)),
        )
        .await;
        let mut wrong = Vec::new();
        for measured in measured {
            let measured = measured?;
            wrong.extend(
                measured
                    .mismatch
                    .as_ref()
                    .map(|m| format!("{}: {m}", measured.node)),
            );
            self.recorder.record(Event::NatMeasured(measured))?;
        }
        if wrong.is_empty() {
            return Ok(());
        }
        wrong.sort();
        Err(StepError::Infrastructure(format!(
            "NAT boxes are not what their labels say: {}",
            wrong.join("; ")
        )))
    }

    async fn measure(
        &self,
        tester: &Tester,
        label: NatSpec,
        family: Family,
    ) -> Result<NatMeasured, StepError> {
        let address = tester.address(family).ok_or_else(|| {
            StepError::Infrastructure(format!("{} has no {family} address", tester.host.name()))
        })?;
        let coordinators = self.testers.reference_coordinators.iter();
        let reflectors = coordinators
            .filter(|c| Family::of(c.ip()) == family)
            .map(|primary| Reflector {
                primary: *primary,
                alternate: std::net::SocketAddr::new(primary.ip(), primary.port() + 1),
            });
        let probe = Probe {
            address,
            ports: PROBE_PORTS,
            reflectors: reflectors.collect(),
            patience_ms: u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX),
        };
        let agent = tester
            .agent()
            .await
            .map_err(|e| StepError::infrastructure(&e))?;
        let seen: Observations = agent
            .call(Call::Probe(probe), PROBING)
            .await
            .map_err(|e| StepError::infrastructure(&e))?;
        let certificate = classify(&seen);
        let (labelled, is_as_labelled) = match family {
            Family::Ipv4 => (label.behaviour, certificate.check(label)),
            Family::Ipv6 => (Behaviour::FIREWALL, certificate.check_firewall()),
        };
        Ok(NatMeasured {
            node: tester.host.name().clone(),
            family,
            labelled,
            mismatch: is_as_labelled.err(),
            certificate,
        })
    }

    /// Only where plain UDP does what theory says is a stack's failure the stack's.
    async fn compare_reference_with_theory(&self) -> Result<(), StepError> {
        self.doing("plain UDP against theory");
        let terms = Terms {
            rung_timeout: REFERENCE_RUNG,
            ..self.terms(&self.testers.reference_coordinators)
        };
        let run = self.matrix(Matrix::Reference, &terms, &self.testers.reference);
        let cells = reference_cells(&self.cells);
        self.planned(Matrix::Reference, cells.len());
        let attempts = run.run(cells, |_| true).await?;
        let usable = attempts.iter().filter(|a| self.is_usable(&a.start.cell));
        let mut wrong: Vec<String> = usable.filter_map(disagreement).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        wrong.sort();
        Err(StepError::Infrastructure(format!(
            "plain UDP does not do what theory says in {} of {} cells: {}",
            wrong.len(),
            attempts.len(),
            wrong.join("; ")
        )))
    }

    async fn judge_stack(&self) -> Result<(), StepError> {
        let terms = self.terms(&self.testers.stack_coordinators);
        let run = self.matrix(Matrix::Stack, &terms, &self.testers.stack);
        self.doing("every pair once");
        self.planned(Matrix::Stack, self.cells.len());
        run.run(self.cells.clone(), |cell| self.is_usable(cell))
            .await?;
        loop {
            let more = self.next_round();
            if more.is_empty() {
                break;
            }
            self.doing("more rounds, until the data decide");
            self.planned(Matrix::Stack, self.attempts().len() + more.len());
            let ended = run.run(more, |cell| self.is_open(cell)).await?;
            if ended.is_empty() {
                break;
            }
        }
        self.record_findings()?;
        let attempts = self.attempts();
        let judgement = judge::judge(self.plan, &attempts.iter().collect::<Vec<_>>());
        self.recorder.record(Event::Judged {
            cycle: self.cycle,
            pass: self.pass,
            verdict: judgement.verdict,
            summary: judgement.summary,
        })?;
        Ok(())
    }

    /// For every undecided criterion, as many cells as would settle it if all
    /// went well, in turn, within the budget.
    fn next_round(&self) -> Vec<Cell> {
        let attempts = self.attempts();
        let attempts: Vec<&Attempt> = attempts.iter().collect();
        let mut round = Vec::new();
        for criterion in &self.plan.criteria {
            let Standing::Open { clean_needed } = judge::standing(criterion, &attempts) else {
                continue;
            };
            let cells: Vec<&Cell> = self
                .cells
                .iter()
                .filter(|c| c.criterion() == criterion.name && self.is_usable(c))
                .collect();
            let done = attempts
                .iter()
                .filter(|a| a.start.cell.criterion() == criterion.name)
                .count();
            let left = (self.plan.budget as usize).saturating_sub(done);
            let wanted = usize::try_from(clean_needed)
                .unwrap_or(usize::MAX)
                .min(left);
            round.extend(cells.into_iter().cycle().skip(done).take(wanted).cloned());
        }
        interleave(round)
    }

    /// Neither node was lost on the way.
    fn is_usable(&self, cell: &Cell) -> bool {
        let ends = cell.pair.nodes();
        self.recorder
            .with(|run| !ends.iter().any(|node| run.degraded.contains_key(*node)))
    }

    /// Whether an attempt here can still tell us something.
    fn is_open(&self, cell: &Cell) -> bool {
        let name = cell.criterion();
        let is_undecided = |criterion: &Criterion| {
            self.recorder.with(|run| {
                let attempts = run.judged_attempts(self.cycle, self.pass);
                matches!(judge::standing(criterion, &attempts), Standing::Open { .. })
            })
        };
        let mut own = self.plan.criteria.iter().filter(|c| c.name == name);
        self.is_usable(cell) && own.any(is_undecided)
    }

    /// The stack's attempts of this TEST so far.
    fn attempts(&self) -> Vec<Attempt> {
        self.recorder.with(|run| {
            run.judged_attempts(self.cycle, self.pass)
                .into_iter()
                .cloned()
                .collect()
        })
    }

    /// What no criterion judges and a reader should know.
    fn record_findings(&self) -> Result<(), RecordError> {
        let attempts = self.attempts();
        let disagree: Vec<&Attempt> = attempts.iter().filter(|a| a.disagrees()).collect();
        if let Some(first) = disagree.first() {
            self.find(format!(
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
            self.find(format!(
                "{}: a direct path where theory says never",
                attempt.start.cell.pair
            ))?;
        }
        Ok(())
    }

    fn find(&self, detail: String) -> Result<(), RecordError> {
        self.recorder.record(Event::Finding { detail })
    }

    fn terms(&self, coordinators: &[std::net::SocketAddr]) -> Terms {
        Terms {
            coordinators: coordinators.to_vec(),
            payload_bytes: self.plan.payload_bytes,
            rung_timeout: Duration::from_millis(self.plan.timeout_ms),
            exchange_timeout: EXCHANGE,
            observer: self.settings.observer.as_ref().map(Arc::clone),
        }
    }

    fn matrix(
        &'a self,
        matrix: Matrix,
        terms: &'a Terms,
        testers: &'a std::collections::HashMap<PeerId, Tester>,
    ) -> MatrixRun<'a> {
        let limits = self.settings.config.tests.connectivity.concurrency;
        MatrixRun {
            matrix,
            cycle: self.cycle,
            pass: self.pass,
            recorder: self.recorder,
            terms,
            testers,
            limits: Limits {
                total: limits.total,
                per_node: limits.per_node,
            },
        }
    }

    fn doing(&self, what: &str) {
        self.recorder.progress(&Progress::Doing(what.into()));
    }

    fn planned(&self, matrix: Matrix, attempts: usize) {
        self.recorder
            .progress(&Progress::Planned { matrix, attempts });
    }
}

/// The slow cells first: what waits for time-outs may as well wait side by side.
fn interleave(mut cells: Vec<Cell>) -> Vec<Cell> {
    cells.sort_by_key(|cell| cell.predicted);
    cells
}

/// How a reference attempt contradicts theory, if it does.
fn disagreement(attempt: &Attempt) -> Option<String> {
    let cell = &attempt.start.cell;
    let happened = judge::why(attempt).unwrap_or_else(|| "it connected".into());
    (!judge::agrees_with_theory(attempt))
        .then(|| format!("{} (theory: {}; {happened})", cell.pair, cell.predicted))
}
