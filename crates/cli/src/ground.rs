//! What a run stands on: the twin, or hosts of one's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{HostCounters, Observers};
use fleet::Reach;
use model::inventory::Fleet;

use crate::inventory_file;
use crate::project::Project;

const CONNECT: Duration = Duration::from_secs(10);

/// Chosen, and not touched yet.
pub enum Ground {
    Twin(crate::twin::Choice),
    Hosts {
        file: PathBuf,
        fleet: Fleet,
        /// The file's text.
        inventory: String,
    },
}

/// Ready to be run on; goes away with this value where it was made for it.
pub struct Standing {
    /// The hosts at the addresses that they have now.
    pub fleet: Fleet,
    pub reach: Reach,
    pub observers: Observers,
    /// By whoever emulates the network between the hosts.
    pub links_are_set: bool,
    pub _twin: Option<crate::twin::Borrowed>,
}

impl Ground {
    /// The fleet of a file only where one is named: nothing real is ever touched
    /// by default.
    pub fn choose(fleet: Option<&Path>, twin: &str, project: &Project) -> miette::Result<Self> {
        match fleet {
            Some(file) => {
                let text = inventory_file::text(file)?;
                let fleet = model::inventory::read(&file.display().to_string(), &text)?;
                Ok(Self::Hosts {
                    file: file.to_owned(),
                    fleet,
                    inventory: text,
                })
            }
            None => {
                let configured = project
                    .settings()
                    .fleet
                    .as_deref()
                    .map(|file| project.path(file));
                crate::twin::Choice::of(twin, configured).map(Self::Twin)
            }
        }
    }

    /// As its inventory has it.
    pub fn inventory(&self) -> &Fleet {
        match self {
            Self::Twin(twin) => &twin.fleet,
            Self::Hosts { fleet, .. } => fleet,
        }
    }

    /// The inventory's file; `None` for a twin that was up already.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Twin(twin) => twin.file.clone(),
            Self::Hosts { file, .. } => std::path::absolute(file).ok(),
        }
    }

    /// `twin NAME` or `fleet FILE`.
    pub fn describe(&self) -> String {
        match self {
            Self::Twin(twin) => format!("twin {}", twin.name),
            Self::Hosts { file, .. } => format!("fleet {}", file.display()),
        }
    }

    /// The hosts where they are now; `None` for a twin that is not up.
    pub fn stand_if_up(self) -> miette::Result<Option<Standing>> {
        if let Self::Twin(twin) = &self
            && !twin.is_up
        {
            return Ok(None);
        }
        self.stand(true, |_| {}).map(Some)
    }

    /// Where they are and how to reach them, and no more.
    pub fn reach_if_up(self) -> miette::Result<Option<(Fleet, Reach)>> {
        let standing = self.stand_if_up()?;
        Ok(standing.map(|standing| (standing.fleet, standing.reach)))
    }

    /// Boots the twin where it is not up. `keep` leaves it up afterwards.
    pub fn stand(self, keep: bool, say: impl FnMut(String)) -> miette::Result<Standing> {
        match self {
            Self::Twin(twin) => twin.stand(keep, say),
            Self::Hosts { fleet, .. } => Ok(Standing {
                fleet,
                reach: Reach {
                    ssh_config: None,
                    connect_timeout: CONNECT,
                    control_dir: None,
                },
                observers: Observers {
                    first: Some(Arc::new(HostCounters::default())),
                    witness: None,
                },
                links_are_set: false,
                _twin: None,
            }),
        }
    }
}
