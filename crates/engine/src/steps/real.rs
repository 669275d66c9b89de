//! The steps as they are on hosts. What they hold open is had again where it is
//! missing, so that a run can go on in whatever state it is found.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use model::event::{Collected, Event};
use model::run::State;

use super::{Stage, StepError, Steps, build, deploy, setup, test};
use crate::evidence;
use crate::fix::{self, Bench};
use crate::health::Prober;
use crate::live::Live;
use crate::recorder::Recorder;
use crate::run_dir::{RunDir, RunDirError};
use crate::scratch::Scratch;
use crate::settings::Settings;

/// The machine's clock may jump when it wakes up, so waits are in steps.
const NAP: Duration = Duration::from_secs(10);

const LEAST_NAP: Duration = Duration::from_millis(200);

pub struct RealSteps {
    /// As the run was started.
    base: Settings,
    /// The same, with the source as it was mended.
    settings: Settings,
    bench: Option<Bench>,
    prober: Prober,
    dir: RunDir,
    live: Live,
    /// After `live`: sessions end before their sockets' directory goes.
    _scratch: Scratch,
}

impl RealSteps {
    pub fn new(
        settings: &Settings,
        dir: &RunDir,
        recorder: &Recorder,
    ) -> Result<Self, RunDirError> {
        let scratch = Scratch::renew(dir)?;
        let mut settings = settings.clone();
        settings.reach.control_dir = Some(scratch.path().to_owned());
        let bench = Bench::of(&settings, dir, recorder);
        if let Some(bench) = &bench {
            // Of a process of this run that was killed.
            recorder.with(|run| bench.clear(run));
        }
        Ok(Self {
            base: settings.clone(),
            settings,
            bench,
            prober: Prober::default(),
            dir: dir.clone(),
            live: Live::default(),
            _scratch: scratch,
        })
    }

    async fn step(&mut self, state: State, recorder: &Recorder) -> Result<(), StepError> {
        if state == State::BuildLocal
            && let Some(bench) = &self.bench
        {
            let built_from = recorder.with(|run| bench.settings(&self.base, run));
            self.settings = built_from.map_err(|e| StepError::infrastructure(&e))?;
        }
        if state == State::Fix {
            // What is mended is the user's own source, or a fix of it.
            let mut stage = Stage {
                settings: &self.base,
                dir: &self.dir,
                recorder,
                live: &mut self.live,
            };
            return fix::perform(&mut stage).await;
        }
        let mut stage = self.stage(recorder);
        match state {
            State::Setup => {
                stage.live.clear();
                setup::perform(&mut stage).await
            }
            State::BuildLocal => build::perform(&mut stage).await,
            State::Deploy if build::restore(&mut stage) => {
                reach(&mut stage).await?;
                deploy::perform(&mut stage).await
            }
            State::Deploy => back_to(&stage, State::BuildLocal),
            State::Test => in_place(&mut stage).await,
            _ => Ok(()),
        }
    }

    /// A look at every service, if it is time for one.
    async fn look(&mut self, every: Duration, recorder: &Recorder) -> Result<(), StepError> {
        if !self.prober.is_due(every) {
            return Ok(());
        }
        if self.live.hosts.is_empty() {
            self.live.hosts = setup::connect(&self.settings).await;
            let mut stage = self.stage(recorder);
            setup::lease(&mut stage, &mut Vec::new()).await?;
            build::restore(&mut stage);
            deploy::rejoin_registry(&mut stage).await;
        }
        let look = self.prober.look(&self.settings, &self.live, recorder);
        let services = look.await;
        if !services.is_empty() {
            recorder.record(Event::Probed { services })?;
        }
        Ok(())
    }

    /// Resolves when the nodes are not ours any more.
    fn lost(&self) -> BoxFuture<'static, String> {
        match &self.live.leases {
            Some(leases) => leases.lost().boxed(),
            None => std::future::pending().boxed(),
        }
    }

    fn stage<'a>(&'a mut self, recorder: &'a Recorder) -> Stage<'a> {
        Stage {
            settings: &self.settings,
            dir: &self.dir,
            recorder,
            live: &mut self.live,
        }
    }
}

#[async_trait::async_trait(?Send)]
impl Steps for RealSteps {
    async fn perform(&mut self, state: State, recorder: &Recorder) -> Result<(), StepError> {
        if !state.is_wait() {
            self.prober.begin();
        }
        let lost = self.lost();
        tokio::select! {
            done = self.step(state, recorder) => done,
            why = lost => Err(StepError::Infrastructure(why)),
        }
    }

    async fn wait(&mut self, until: Timestamp, recorder: &Recorder) -> Result<(), StepError> {
        let left = until.duration_since(recorder.now());
        let left = Duration::try_from(left).unwrap_or_default();
        let period = Duration::from_secs(self.settings.config.soak.probe_seconds);
        // A short wait is looked at as well, early and late.
        self.look(period.min(left / 2), recorder).await?;
        let nap = NAP.min(period).min(left / 3).max(LEAST_NAP);
        let lost = self.lost();
        tokio::select! {
            () = tokio::time::sleep(nap.min(left)) => Ok(()),
            why = lost => Err(StepError::Infrastructure(why)),
        }
    }

    async fn collect(
        &mut self,
        recorder: &Recorder,
        dir: &RunDir,
    ) -> Result<Collected, RunDirError> {
        let mut stage = self.stage(recorder);
        // Resumed only to be stopped, or for the proof alone.
        if stage.live.hosts.is_empty() && recorder.with(|run| !run.deployed.is_empty()) {
            stage.live.hosts = setup::connect(stage.settings).await;
            build::restore(&mut stage);
            deploy::rejoin_registry(&mut stage).await;
        }
        let collected = evidence::collect(&self.settings, recorder, dir, &self.live).await;
        if let Some(bench) = &self.bench {
            recorder.with(|run| bench.clear(run));
        }
        collected
    }

    async fn leave(&mut self) {
        if let Some(publisher) = self.live.publisher.take() {
            publisher.finish().await;
        }
        if let Some(leases) = self.live.leases.take() {
            leases.release().await;
        }
    }
}

async fn reach(stage: &mut Stage<'_>) -> Result<(), StepError> {
    if stage.live.hosts.is_empty() {
        setup::perform(stage).await?;
    }
    Ok(())
}

/// TEST, with testers that run: the run may have been resumed, the laptop may
/// have slept and a host may have rebooted since they were deployed.
async fn in_place(stage: &mut Stage<'_>) -> Result<(), StepError> {
    if stage.live.testers.is_none() || !stage.live.is_reachable().await {
        if !build::restore(stage) {
            return back_to(stage, State::Restart);
        }
        stage.live.clear_hosts();
        setup::perform(stage).await?;
        deploy::perform(stage).await?;
    }
    test::perform(stage).await
}

/// What is tested must be what was built: where it is gone, it is built again,
/// and nothing that was measured before counts for it.
fn back_to(stage: &Stage<'_>, state: State) -> Result<(), StepError> {
    let detail = format!(
        "the binaries in `{}` are gone or changed; they are built again",
        stage.dir.binaries().display()
    );
    stage.recorder.record(Event::Finding { detail })?;
    stage.recorder.record(Event::Entered { state })?;
    Ok(())
}
