//! The registry of a run that is over: what it was not told yet, and what a person
//! says there about a run that is parked for them.
//!
//! The registry decides nothing. It keeps who said what, and this side, which has
//! the journal, asks for it.

use std::sync::Arc;

use fleet::{FleetError, Host};
use model::event::Review;
use model::publication::{Decided, DecisionAnswer};

use crate::deployment::Parts;
use crate::publish::Follower;
use crate::registry::Registry;
use crate::run_dir::RunDir;
use crate::settings::Settings;

#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    #[error("the run has no registry: its config names no node for one")]
    None,
    #[error("`{0}` is no run that a registry could show: it is not in PROJECT/TIME")]
    Nameless(String),
    #[error("the registry of the run cannot be asked")]
    Fleet(#[from] FleetError),
    #[error("the registry does not take the run: {0}")]
    Publish(String),
    #[error("the registry answers something else than was asked: {0}")]
    Answer(#[from] serde_json::Error),
    #[error(
        "`{by}` decided when {decided} entries of the journal were published, and it has {here}: \
         they looked at another end of this run"
    )]
    OtherEnd { by: String, decided: u64, here: u64 },
}

pub struct Dashboard {
    registry: Arc<Registry>,
    follower: Follower,
    /// `/runs/PROJECT/TIME`, below the registry's own address.
    pub page: String,
}

impl Dashboard {
    /// Reaches the registry's host, and sees to it that the run is published as far
    /// as it goes.
    ///
    /// # Errors
    /// There is no registry, or it does not answer.
    pub async fn open(settings: &Settings, dir: &RunDir) -> Result<Self, DashboardError> {
        let parts = Parts::assign(settings, |_| true);
        let url = parts.registry_url().ok_or(DashboardError::None)?;
        let node = parts
            .registry
            .as_ref()
            .and_then(|(name, _)| settings.fleet.node(name))
            .ok_or(DashboardError::None)?;
        let host = Arc::new(Host::connect(&settings.reach, node).await?);
        let program = format!("{}/vps-test-registry", settings.install_path());
        let registry = Registry::open(host, program, url.clone());
        let registry = Arc::new(registry.log_in(settings, "confirm").await?);
        let follower = Follower::new(Arc::clone(&registry), dir.journal())
            .ok_or_else(|| DashboardError::Nameless(dir.display()))?;
        let page = format!("{url}/runs/{}", follower.id);
        let mut dashboard = Self {
            registry,
            follower,
            page,
        };
        dashboard.publish().await?;
        Ok(dashboard)
    }

    /// What the journal has by now.
    ///
    /// # Errors
    /// The registry does not answer, or has another run of this name.
    pub async fn publish(&mut self) -> Result<(), DashboardError> {
        let done = self.follower.catch_up().await;
        done.map_err(DashboardError::Publish)
    }

    /// What a person has said there, if somebody has.
    ///
    /// # Errors
    /// The registry does not answer, or they looked at something else than this
    /// journal.
    pub async fn decision(&self) -> Result<Option<Review>, DashboardError> {
        let path = format!("/api/runs/{}/decision", self.follower.id);
        let answer: DecisionAnswer = serde_json::from_str(&self.registry.get(&path).await?)?;
        let here = self.follower.published();
        answer
            .decided
            .map(|decided| about_this_end(decided, here))
            .transpose()
    }
}

/// A word counts for what they could see when they said it.
fn about_this_end(decided: Decided, here: u64) -> Result<Review, DashboardError> {
    if decided.entries != here {
        return Err(DashboardError::OtherEnd {
            by: decided.by,
            decided: decided.entries,
            here,
        });
    }
    Ok(Review {
        decision: decided.decision,
        by: decided.by,
        via: "dashboard".into(),
        reason: decided.reason,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use model::event::Decision;

    use super::*;

    #[test]
    fn a_word_on_another_end_of_the_run_does_not_count() {
        let decided = Decided {
            decision: Decision::Rejected,
            reason: Some("slow".into()),
            by: "ada".into(),
            at: Timestamp::UNIX_EPOCH,
            entries: 7,
        };
        let review = about_this_end(decided.clone(), 7).unwrap();
        assert_eq!(
            (review.by.as_str(), review.via.as_str()),
            ("ada", "dashboard")
        );
        assert_eq!(review.reason.as_deref(), Some("slow"));
        let other = about_this_end(decided, 8);
        assert!(matches!(
            other,
            Err(DashboardError::OtherEnd { here: 8, .. })
        ));
    }
}
