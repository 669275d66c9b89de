//! TEST: measure the NATs, let plain UDP agree with theory, then judge the stack.

use futures::future::join_all;
use model::attempt::{Attempt, Cell, Matrix};
use model::cells::reference_cells;
use model::event::{Event, Plan};
use model::family::Family;
use model::judge;
use model::nat::NatSpec;
use model::suite::SuiteName;

use super::{Stage, StepError};
use crate::capture::Captures;
use crate::live::Testers;
use crate::recorder::{RecordError, Recorder};
use crate::settings::Settings;
use crate::suite::{self, context::Context};
use crate::tester::Tester;

pub async fn perform(stage: &mut Stage<'_>) -> Result<(), StepError> {
    super::links::measure(stage).await?;
    let testers = stage.live.testers.as_ref();
    let testers =
        testers.ok_or_else(|| StepError::Infrastructure("nothing was deployed".into()))?;
    let plan = stage.recorder.with(|run| run.plan.clone());
    let plan = plan.ok_or_else(|| StepError::Infrastructure("the run has no plan".into()))?;
    let test = Test::new(stage.settings, stage.recorder, testers, &plan);
    let done = test.run().await;
    test.finish_captures().await?;
    done?;
    registry_is_still_there(stage).await
}

/// Peers that have nowhere to register are not what was to be tested, even where they
/// find each other.
async fn registry_is_still_there(stage: &Stage<'_>) -> Result<(), StepError> {
    let Some(registry) = &stage.live.registry else {
        return Ok(());
    };
    let asked = registry.peers().await;
    asked.map(drop).map_err(|error| {
        let node = registry.host.name();
        StepError::Infrastructure(format!(
            "the registry on {node} does not answer any more: {error}"
        ))
    })
}

struct Test<'a> {
    context: Context<'a>,
    /// What plain UDP has to try for all suites.
    reference: Vec<Cell>,
}

impl<'a> Test<'a> {
    fn new(
        settings: &'a Settings,
        recorder: &'a Recorder,
        testers: &'a Testers,
        plan: &'a Plan,
    ) -> Self {
        let (cycle, pass) = recorder.with(|run| (run.cycle, run.pass));
        let context = Context {
            settings,
            recorder,
            testers,
            plan,
            cycle,
            pass,
            captures: Captures::new(&settings.capture),
        };
        let cells = plan.suites.iter().flat_map(|suite| context.cells(suite));
        let reference = reference_cells(cells);
        Self { context, reference }
    }

    async fn run(&self) -> Result<(), StepError> {
        self.certify_nats().await?;
        self.compare_reference_with_theory().await?;
        self.perform_suites().await
    }

    /// A capture that could not be had is no reason to stop.
    async fn finish_captures(&self) -> Result<(), RecordError> {
        for failed in self.context.captures.finish().await {
            self.context
                .find(format!("a capture is missing: {failed}"))?;
        }
        Ok(())
    }

    /// A box that is not what its label says ends the run: nothing that is
    /// tested behind it would mean what it seems to mean.
    async fn certify_nats(&self) -> Result<(), StepError> {
        self.context.doing("measuring the NATs");
        let boxed: Vec<(&Tester, NatSpec, Family)> = self
            .context
            .testers
            .reference
            .values()
            .filter_map(|tester| Some((tester, tester.host.node.nat.as_ref()?.spec)))
            .flat_map(|(tester, label)| {
                let families = self.context.plan.families.iter();
                let spoken = families.filter(|family| tester.address(**family).is_some());
                spoken.map(move |family| (tester, label, *family))
            })
            .collect();
        let measured = join_all(
            boxed
                .iter()
                .map(|(tester, label, family)| self.context.certify(tester, *label, *family)),
        )
        .await;
        let mut wrong = Vec::new();
        for measured in measured {
            let measured = measured?;
            wrong.extend(
                measured
                    .mismatch
                    .as_ref()
                    .map(|m| format!("{}: {m}", measured.name())),
            );
            self.context.recorder.record(Event::NatMeasured(measured))?;
        }
        if wrong.is_empty() {
            return Ok(());
        }
        wrong.sort();
        Err(StepError::Infrastructure(format!(
            "NAT boxes or firewalls are not what their labels say: {}",
            wrong.join("; ")
        )))
    }

    /// Only where plain UDP does what theory says is a stack's failure the stack's.
    async fn compare_reference_with_theory(&self) -> Result<(), StepError> {
        self.context.doing("plain UDP against theory");
        let testers = self.context.testers;
        let terms = self.context.reference_terms();
        let run = self.context.matrix(
            Matrix::Reference,
            &SuiteName::default(),
            &terms,
            &testers.reference,
        );
        self.context
            .planned(Matrix::Reference, self.reference.len());
        let attempts = run.run(self.reference.clone(), |_| {}).await?;
        let usable = attempts
            .iter()
            .filter(|a| self.context.is_usable(&a.start.cell));
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

    async fn perform_suites(&self) -> Result<(), StepError> {
        for suite in &self.context.plan.suites {
            suite::perform(&self.context, suite).await?;
        }
        let Context {
            plan, cycle, pass, ..
        } = self.context;
        let judgement = self
            .context
            .recorder
            .with(|run| judge::judge_test(plan, run, cycle, pass));
        self.context.recorder.record(Event::Judged {
            cycle,
            pass,
            verdict: judgement.verdict,
            summary: judgement.summary,
        })?;
        Ok(())
    }
}

/// How a reference attempt contradicts theory, if it does.
fn disagreement(attempt: &Attempt) -> Option<String> {
    let cell = &attempt.start.cell;
    let happened = judge::why(attempt).unwrap_or_else(|| "it connected".into());
    (!judge::agrees_with_theory(attempt))
        .then(|| format!("{} (theory: {}; {happened})", cell.pair, cell.predicted))
}
