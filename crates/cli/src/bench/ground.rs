//! A twin for a bench, and its hosts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleet::{Host, Reach};
use futures::future::try_join_all;
use lab::{Twin, UpOptions};
use miette::IntoDiagnostic;

use crate::exit::Infrastructure;
use crate::inventory_file;

pub const NAME: &str = "bench";

/// Down when dropped.
pub struct Ground {
    pub twin: Twin,
}

impl Ground {
    pub fn boot(inventory: &str) -> miette::Result<Self> {
        Twin::down(NAME)?;
        let twin = Twin::up(
            &UpOptions {
                name: NAME,
                inventory,
            },
            |_| {},
        )?;
        Ok(Self { twin })
    }

    pub fn ssh_config(&self) -> PathBuf {
        self.twin.ssh_config()
    }

    /// Fresh sessions to the first so many hosts, side by side.
    pub async fn connect(&self, hosts: usize) -> miette::Result<Vec<Arc<Host>>> {
        let reach = Reach {
            ssh_config: Some(self.ssh_config()),
            connect_timeout: Duration::from_secs(10),
            control_dir: None,
        };
        let fleet = self.twin.relocated();
        let sessions = fleet
            .nodes
            .iter()
            .take(hosts)
            .map(|node| Host::connect(&reach, node));
        let hosts = try_join_all(sessions)
            .await
            .map_err(|e| Infrastructure::from_error(&e))?;
        Ok(hosts.into_iter().map(Arc::new).collect())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = Twin::down(NAME) {
            eprintln!("{error}");
        }
    }
}

/// The repository's own ten hosts.
pub fn saorsa() -> miette::Result<String> {
    inventory_file::text(&inventory_file::find(None)?)
}

/// The same, with no delay between any two of them.
pub fn without_delay(inventory: &str) -> miette::Result<String> {
    let mut value: serde_json::Value = serde_saphyr::from_str(inventory).into_diagnostic()?;
    let constant = value.pointer_mut("/wan/constant_ms");
    if let Some(constant) = constant {
        *constant = 0.into();
    }
    // Regions that all lie in one place are at no distance.
    for region in value
        .get_mut("regions")
        .and_then(|r| r.as_object_mut())
        .into_iter()
        .flat_map(|r| r.values_mut())
    {
        *region = serde_json::json!({ "latitude": 0.0, "longitude": 0.0 });
    }
    serde_json::to_string_pretty(&value).into_diagnostic()
}
