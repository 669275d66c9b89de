//! The dashboard's part in it: somebody decides there, and it is told what came of it.

use std::process::ExitCode;
use std::time::Duration;

use engine::{Dashboard, DashboardError, RunDir, Settings};
use model::event::{Decision, Review};

use crate::exit::Infrastructure;
use crate::ground::Standing;
use crate::nodes::block_on;
use crate::runs;
use crate::started::Started;

/// People take minutes.
const ASK_EVERY: Duration = Duration::from_secs(2);
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Waits for a decision, takes it over, and publishes what came of it. Ended early,
/// it leaves the run parked and the decision where it is.
pub fn watch(dir: &RunDir) -> miette::Result<ExitCode> {
    if !runs::replay(dir)?.awaits_review() {
        miette::bail!("`{}` does not wait for anybody", dir.display());
    }
    let there = reach(dir)?.ok_or_else(|| {
        miette::miette!(
            help = "decide here: `vps-test confirm RUN [--reject --reason TEXT]`",
            "the twin that the run was on is down, and its dashboard with it"
        )
    })?;
    block_on(async {
        let (review, mut dashboard) = wait(&there.settings, dir).await?;
        let said = match review.decision {
            Decision::Confirmed => "confirmed",
            Decision::Rejected => "rejected",
        };
        println!("  {said} by {} on the dashboard", review.by);
        let code = super::take_over(dir, review)?;
        if let Err(error) = dashboard.publish().await {
            not_told(&error);
        }
        Ok(code)
    })?
}

/// What was decided here; a dashboard that is not there is none to tell.
pub fn tell(dir: &RunDir) {
    let told = reach(dir).and_then(|there| match there {
        Some(there) => block_on(Dashboard::open(&there.settings, dir))
            .map(|opened| opened.map(drop).unwrap_or_else(|error| not_told(&error))),
        None => Ok(()),
    });
    if let Err(report) = told {
        eprintln!("  the dashboard does not know of it: {report}");
    }
}

fn not_told(error: &DashboardError) {
    eprintln!(
        "  the dashboard does not know of it: {}",
        Infrastructure::from_error(error)
    );
}

struct There {
    settings: Settings,
    /// The sessions' way in.
    _standing: Standing,
}

/// As the run was started; `None` where its twin is down.
fn reach(dir: &RunDir) -> miette::Result<Option<There>> {
    let started = Started::read(dir)?;
    let ground = started.ground.looked_at()?;
    let inventory = ground.inventory().clone();
    let Some(standing) = ground.stand_if_up()? else {
        return Ok(None);
    };
    let settings = started.settings(&inventory, &standing, dir)?;
    Ok(Some(There {
        settings,
        _standing: standing,
    }))
}

async fn wait(settings: &Settings, dir: &RunDir) -> miette::Result<(Review, Dashboard)> {
    let failed = |error: DashboardError| Infrastructure::from_error(&error);
    let length = || std::fs::metadata(dir.journal()).map(|file| file.len()).ok();
    let parked = length();
    let mut dashboard = Dashboard::open(settings, dir).await.map_err(failed)?;
    println!(
        "  waits for somebody to decide on {}; Ctrl-C leaves the run as it is",
        dashboard.page
    );
    loop {
        match dashboard.decision().await {
            Ok(Some(review)) => return Ok((review, dashboard)),
            Ok(None) => tokio::time::sleep(ASK_EVERY).await,
            // The host is away for now, or its registry is started anew.
            Err(error @ DashboardError::Fleet(_)) => {
                eprintln!("  {}", failed(error));
                dashboard = again(settings, dir).await.map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        if length() != parked {
            miette::bail!("`{}` was decided on elsewhere meanwhile", dir.display());
        }
    }
}

async fn again(settings: &Settings, dir: &RunDir) -> Result<Dashboard, DashboardError> {
    loop {
        tokio::time::sleep(AGAIN_AFTER).await;
        match Dashboard::open(settings, dir).await {
            Err(DashboardError::Fleet(_) | DashboardError::Publish(_)) => {}
            opened => return opened,
        }
    }
}
