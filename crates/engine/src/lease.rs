//! The fleet's leases while a run goes on: taken in SETUP, renewed, given back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleet::{FleetError, Holder, Host, Lease};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use model::inventory::NodeName;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::run_dir::RunDir;
use crate::settings::Settings;

/// A controller that is gone for so long has lost its hosts.
const LIFETIME: Duration = Duration::from_secs(600);

const RENEWAL: Duration = Duration::from_secs(120);

type Hosts = BTreeMap<NodeName, Arc<Host>>;

/// Renewed as long as this value lives.
pub struct Leases {
    terms: Lease,
    hosts: Hosts,
    renewal: JoinHandle<()>,
    lost: watch::Receiver<Option<String>>,
}

/// What became of asking for all.
pub enum Asked {
    Taken(Leases),
    /// Whoever holds the fleet, in words.
    Held(String),
}

impl Leases {
    /// Takes every host's, or none. Hosts that cannot keep a lease are told apart.
    pub async fn take(
        settings: &Settings,
        dir: &RunDir,
        hosts: &Hosts,
    ) -> (Asked, Vec<(NodeName, FleetError)>) {
        let terms = terms(settings, dir);
        let answers = join_all(hosts.values().map(|host| host.lease(&terms))).await;
        let (mut holders, mut errors) = (Vec::new(), Vec::new());
        for (host, answer) in hosts.values().zip(answers) {
            match answer {
                Ok(None) => {}
                Ok(Some(holder)) => holders.push(in_words(host.name(), &holder)),
                Err(error) => errors.push((host.name().clone(), error)),
            }
        }
        if holders.is_empty() {
            return (Asked::Taken(Self::keep(terms, hosts.clone())), errors);
        }
        release(&terms, hosts).await;
        let held = format!(
            "these nodes are in use for {}: {}; stop that run, or wait until it ends",
            settings.project,
            holders.join("; ")
        );
        (Asked::Held(held), errors)
    }

    fn keep(terms: Lease, hosts: Hosts) -> Self {
        let (tell, lost) = watch::channel(None);
        let renewal = tokio::spawn({
            let (terms, hosts) = (terms.clone(), hosts.clone());
            async move {
                loop {
                    tokio::time::sleep(RENEWAL).await;
                    for host in hosts.values() {
                        // A host that does not answer is others' business.
                        if let Ok(Some(holder)) = host.lease(&terms).await {
                            let _ = tell.send(Some(in_words(host.name(), &holder)));
                            return;
                        }
                    }
                }
            }
        });
        Self {
            terms,
            hosts,
            renewal,
            lost,
        }
    }

    /// Resolves when somebody else has taken a lease that had expired.
    pub fn lost(&self) -> impl Future<Output = String> + use<> {
        let mut lost = self.lost.clone();
        async move {
            let holder = lost.wait_for(Option::is_some).await;
            let holder = holder.ok().and_then(|holder| holder.clone());
            match holder {
                Some(holder) => format!("the lease was lost: {holder}"),
                // Given back.
                None => std::future::pending().await,
            }
        }
    }

    pub async fn release(mut self) {
        self.renewal.abort();
        // It holds sessions, which are to end in order.
        let _ = (&mut self.renewal).await;
        release(&self.terms, &self.hosts).await;
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

async fn release(terms: &Lease, hosts: &Hosts) {
    join_all(hosts.values().map(|host| host.release(terms))).await;
}

fn in_words(node: &NodeName, holder: &Holder) -> String {
    let left = SignedDuration::try_from(holder.left).unwrap_or_default();
    let until = (Timestamp::now() + left).strftime("%H:%M:%S UTC");
    format!("{node} by {} until {until}", holder.owner)
}

fn terms(settings: &Settings, dir: &RunDir) -> Lease {
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let home = dir.path().parent().unwrap_or(Path::new("/"));
    Lease {
        units: settings
            .unit(&settings.module_name)
            .trim_end_matches(".service")
            .to_owned(),
        owner: format!("{user}@{}:{}", host.trim(), home.display()),
        lifetime: LIFETIME,
    }
}
