//! What TEST runs: one suite after the other, each against what is deployed.

mod act;
mod certify;
pub mod connectivity;
pub mod context;
pub mod matrix;
pub mod nat_traversal;
pub mod schedule;
pub mod steps;
pub mod throughput;

use model::event::Event;
use model::suite::{Driver, Suite};

use crate::steps::StepError;
use context::Context;

/// Performs a suite, unless this TEST has had it: a run that was resumed goes on
/// with the first one that is not finished.
pub async fn perform(context: &Context<'_>, suite: &Suite) -> Result<(), StepError> {
    let key = (context.cycle, context.pass, suite.name.clone());
    if context
        .recorder
        .with(|run| run.suites_finished.contains(&key))
    {
        return Ok(());
    }
    match &suite.driver {
        Driver::Matrix => connectivity::perform(context, suite).await?,
        Driver::NatTraversal => nat_traversal::perform(context, suite).await?,
        Driver::Throughput(amount) => throughput::perform(context, suite, amount).await?,
        Driver::Steps(steps) => steps::perform(context, suite, steps).await?,
    }
    let (cycle, pass, suite) = key;
    context
        .recorder
        .record(Event::SuiteFinished { cycle, pass, suite })?;
    Ok(())
}
