//! The twin as something to run on.

mod borrowed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Asked, Observer, ObserverError, Observers};
use fleet::Reach;
use lab::{LabError, Twin, UpOptions};
use miette::{IntoDiagnostic, WrapErr};
use model::flow::FlowCount;
use model::inventory::{Fleet, NodeName};
use model::proof::WanReport;

pub use borrowed::Borrowed;

use crate::ground::Standing;
use crate::inventory_file;

/// Hosts of this machine answer at once or not at all.
const CONNECT: Duration = Duration::from_secs(10);

/// The twin that is up under a name, or the one that will be booted.
pub struct Choice {
    pub name: String,
    pub fleet: Fleet,
    /// The text that `fleet` was read from.
    pub inventory: String,
    /// The file of that text, where it was just read.
    pub file: Option<PathBuf>,
    pub is_up: bool,
    /// Goes away after the run though it is up: the run booted it.
    booted_for_us: bool,
}

impl Choice {
    /// A twin that is up keeps the fleet that it was booted with.
    pub fn of(name: &str, configured: Option<PathBuf>) -> miette::Result<Self> {
        match Twin::open(name) {
            Ok(twin) => Ok(Self {
                name: name.into(),
                fleet: twin.fleet().clone(),
                inventory: twin.inventory()?,
                file: configured.and_then(|file| std::path::absolute(file).ok()),
                is_up: true,
                booted_for_us: false,
            }),
            Err(LabError::NotUp { .. }) => {
                let file = inventory_file::find(configured)?;
                let inventory = inventory_file::text(&file)?;
                let fleet = model::inventory::read(&file.display().to_string(), &inventory)?;
                Ok(Self {
                    name: name.into(),
                    fleet,
                    inventory,
                    file: std::path::absolute(file).ok(),
                    is_up: false,
                    booted_for_us: false,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The one that a run stood on, up or to be booted again.
    pub fn again(name: &str, inventory: &str, booted_for_us: bool) -> miette::Result<Self> {
        let is_up = match Twin::open(name) {
            Ok(twin) if twin.inventory()? == inventory => true,
            Ok(_) => return Err(LabError::OtherFleet { name: name.into() }.into()),
            Err(LabError::NotUp { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            name: name.into(),
            fleet: model::inventory::read("plan.yaml", inventory)?,
            inventory: inventory.into(),
            file: None,
            is_up,
            booted_for_us,
        })
    }

    pub fn stand(self, keep: bool, mut say: impl FnMut(String)) -> miette::Result<Standing> {
        let twin = if self.is_up {
            Twin::open(&self.name)?
        } else {
            let began = Instant::now();
            let options = UpOptions {
                name: &self.name,
                inventory: &self.inventory,
            };
            let twin = Twin::up(&options, |_| {})?;
            let hosts = twin.fleet().nodes.len();
            say(format!(
                "twin `{}` booted, {hosts} hosts in {:.1} s",
                self.name,
                began.elapsed().as_secs_f64()
            ));
            twin
        };
        let for_a_run = !keep && (!self.is_up || self.booted_for_us);
        let borrowed = Borrowed::of(&twin, for_a_run)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot note who runs on twin `{}`", self.name))?;
        Ok(Standing {
            fleet: twin.relocated(),
            reach: Reach {
                ssh_config: Some(twin.ssh_config()),
                connect_timeout: CONNECT,
                control_dir: None,
            },
            observers: Observers {
                first: Some(Arc::new(Wan(twin))),
                witness: None,
            },
            links_are_set: true,
            _twin: Some(borrowed),
        })
    }
}

/// Whether a twin of this name is up.
pub fn is_up(name: &str) -> bool {
    Twin::open(name).is_ok()
}

/// Takes the twin down with it.
pub struct UntilDropped(String);

impl UntilDropped {
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

impl Drop for UntilDropped {
    fn drop(&mut self) {
        if let Err(error) = Twin::down(&self.0) {
            eprintln!("{:?}", miette::Report::new(error));
        }
    }
}

/// The emulated internet sees every packet.
struct Wan(Twin);

#[async_trait::async_trait]
impl Observer for Wan {
    async fn flows(&self, asked: &Asked) -> Result<Vec<FlowCount>, ObserverError> {
        let (twin, touching) = (self.0.clone(), asked.touching.clone());
        blocking(move || twin.flows(&touching)).await
    }

    /// Whoever takes part or not: nobody else sends UDP on a twin.
    async fn udp_sent(&self, _nodes: &[NodeName]) -> Result<u64, ObserverError> {
        let twin = self.0.clone();
        let status = blocking(move || twin.status()).await?;
        Ok(status.wan.udp_bytes)
    }

    async fn wan(&self) -> Result<Option<WanReport>, ObserverError> {
        let twin = self.0.clone();
        let status = blocking(move || twin.status()).await?;
        Ok(Some(WanReport {
            seed: self.0.fleet().wan.seed,
            packets: status.wan.delivered,
            lateness_p50_ms: status.lateness.p50_ms,
            lateness_p99_ms: status.lateness.p99_ms,
            unasked_drops: status.wan.unasked,
        }))
    }
}

/// The control socket answers in its own time; the run goes on meanwhile.
async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, ObserverError> {
    let answer = tokio::task::spawn_blocking(ask)
        .await
        .map_err(|e| ObserverError(e.to_string()))?;
    answer.map_err(|e| ObserverError(e.to_string()))
}
