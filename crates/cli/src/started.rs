//! `plan.yaml`, beside a run's directory: all that it was started with, so that it
//! goes on without a flag, whatever became of the files it was read from.

use std::path::PathBuf;
use std::sync::Arc;

use engine::{Capture, HostCounters, Keep, Observers, RunDir, Settings, StackPatch};
use miette::{IntoDiagnostic, WrapErr};
use model::config::Config;
use model::inventory::Fleet;
use serde::{Deserialize, Serialize};

use crate::exit::Infrastructure;
use crate::ground::{Ground, Standing};
use crate::start::CaptureWhich;
use crate::twin;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    pub project: String,
    /// Root of the workspace that holds the testers.
    pub workspace: PathBuf,
    /// `NAME=SOURCE`, with an absolute path.
    pub stack: Option<String>,
    pub ground: GroundRecord,
    pub cross_check: bool,
    pub capture: CaptureWhich,
    /// With a key of its own, or the usual one.
    pub sign: Option<Option<PathBuf>>,
    /// The files that config and inventory were read from.
    pub judged_by: Vec<PathBuf>,
    pub config: Config,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroundRecord {
    Twin {
        name: String,
        /// It was booted for the run, and goes with it.
        booted_for_it: bool,
        /// The inventory's text.
        inventory: String,
    },
    Hosts {
        file: PathBuf,
        inventory: String,
    },
}

impl GroundRecord {
    pub fn of(ground: &Ground, keep: bool) -> miette::Result<Self> {
        Ok(match ground {
            Ground::Twin(twin) => Self::Twin {
                name: twin.name.clone(),
                booted_for_it: !twin.is_up && !keep,
                inventory: twin.inventory.clone(),
            },
            Ground::Hosts {
                file, inventory, ..
            } => Self::Hosts {
                file: std::path::absolute(file).into_diagnostic()?,
                inventory: inventory.clone(),
            },
        })
    }

    pub fn ground(&self) -> miette::Result<Ground> {
        match self {
            Self::Twin {
                name,
                booted_for_it,
                inventory,
            } => twin::Choice::again(name, inventory, *booted_for_it).map(Ground::Twin),
            Self::Hosts { file, inventory } => Ok(Ground::Hosts {
                fleet: model::inventory::read(&file.display().to_string(), inventory)?,
                file: file.clone(),
                inventory: inventory.clone(),
            }),
        }
    }

    /// To be looked at where it is up; a twin that is stays up, whoever booted it.
    pub fn looked_at(&self) -> miette::Result<Ground> {
        match self {
            Self::Twin {
                name, inventory, ..
            } => twin::Choice::again(name, inventory, false).map(Ground::Twin),
            Self::Hosts { .. } => self.ground(),
        }
    }

    /// Whether a twin that has to be booted stays up afterwards.
    pub fn keeps(&self) -> bool {
        match self {
            Self::Twin { booted_for_it, .. } => !booted_for_it,
            Self::Hosts { .. } => true,
        }
    }
}

impl Started {
    /// With a second count, the hosts' own, where the first is the twin's.
    fn observers(&self, standing: &Standing) -> Observers {
        let mut observers = standing.observers.clone();
        if self.cross_check {
            observers.witness = Some(Arc::new(HostCounters::default()));
        }
        observers
    }

    pub fn write(&self, dir: &RunDir) -> miette::Result<()> {
        let text = serde_saphyr::to_string(self).into_diagnostic()?;
        dir.write_plan(&text)
            .map_err(|e| Infrastructure::from_error(&e))
            .map(drop)
    }

    pub fn read(dir: &RunDir) -> miette::Result<Self> {
        let path = dir.plan();
        let text = std::fs::read_to_string(&path)
            .into_diagnostic()
            .wrap_err_with(|| {
                format!(
                    "cannot read `{}`, which says what the run was started with",
                    path.display()
                )
            })?;
        serde_saphyr::from_str(&text)
            .into_diagnostic()
            .wrap_err_with(|| format!("`{}` is not what start wrote", path.display()))
    }

    pub fn settings(
        &self,
        inventory: &Fleet,
        standing: &Standing,
        dir: &RunDir,
    ) -> miette::Result<Settings> {
        let config = &self.config;
        let (module_name, module) = config
            .module_of(&self.project)
            .ok_or_else(|| miette::miette!("no module tests `{}`", self.project))?;
        let stack = self.stack.as_deref().map(StackPatch::parse).transpose();
        Ok(Settings {
            fleet: standing.fleet.clone(),
            reach: standing.reach.clone(),
            project: self.project.clone(),
            module_name: module_name.to_owned(),
            module: module.clone(),
            workspace: self.workspace.clone(),
            bootstrap: config
                .bootstrap_nodes(inventory, module_name)
                .into_iter()
                .map(|(n, port)| (n.name.clone(), port))
                .collect(),
            registry: config
                .registry_node(inventory)
                .map(|(n, port)| (n.name.clone(), port)),
            config: config.clone(),
            cargo_target: None,
            judged_by: self.judged_by.clone(),
            stack: stack.into_diagnostic()?,
            observers: self.observers(standing),
            links_are_set: standing.links_are_set,
            capture: Capture {
                keep: match self.capture {
                    CaptureWhich::None => Keep::None,
                    CaptureWhich::Failures => Keep::Failures,
                    CaptureWhich::All => Keep::All,
                },
                directory: dir.path().join("captures"),
            },
        })
    }
}
