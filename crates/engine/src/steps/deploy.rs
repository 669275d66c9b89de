//! DEPLOY: NAT boxes, registry, coordinators, testers; then wait until every
//! tester answers and is in the registry.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::{FleetError, Host, Installed, NatBox};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use model::event::{Deployed, Event};
use model::family::Family;
use model::inventory::{NodeName, PeerId};
use model::registration::Peers;

use super::{Stage, StepError};
use crate::agent::AgentError;
use crate::deployment::{
    self, ALL_PORTS, Parts, Place, REGISTRY_CA, REGISTRY_DIR, REGISTRY_TOKEN, Which,
};
use crate::live::{Binaries, Testers};
use crate::recorder::{Progress, Recorder};
use crate::settings::Settings;
use crate::tester::Tester;

/// How long testers may take to appear in the registry.
const REGISTRATION: Duration = Duration::from_secs(60);

/// Forwarded sockets that are asked for at once on one session.
const SOCKETS_AT_ONCE: usize = 8;

const COMMAND: Duration = Duration::from_secs(30);

pub async fn perform(stage: &mut Stage<'_>) -> Result<(), StepError> {
    let binaries = stage.live.binaries.clone();
    let binaries = binaries.ok_or_else(|| StepError::Infrastructure("nothing was built".into()))?;
    let parts = parts_with_registry(stage, &binaries).await?;
    let credentials = credentials(stage, &parts).await?;
    let work = Work {
        settings: stage.settings,
        recorder: stage.recorder,
        parts: &parts,
        binaries: &binaries,
        credentials: credentials.as_ref(),
    };

    let hosts: Vec<Arc<Host>> = stage.live.hosts.values().cloned().collect();
    let outcomes = join_all(hosts.iter().map(|host| work.deploy(host))).await;
    let mut testers = Testers {
        stack_coordinators: parts.stack_coordinators.iter().map(|(_, a)| *a).collect(),
        reference_coordinators: parts
            .reference_coordinators
            .iter()
            .map(|(_, a)| *a)
            .collect(),
        ..Testers::default()
    };
    for (host, outcome) in hosts.iter().zip(outcomes) {
        match outcome {
            Ok(running) => {
                for (place, tester) in running {
                    let kind = match place.which {
                        Which::Stack => &mut testers.stack,
                        Which::Reference => &mut testers.reference,
                    };
                    kind.insert(PeerId::new(host.name().clone(), place.number), tester);
                }
            }
            Err(DeployError::Record(error)) => return Err(error.into()),
            Err(DeployError::Node(reason)) => {
                stage.live.hosts.remove(host.name());
                stage.recorder.record(Event::NodeDegraded {
                    node: host.name().clone(),
                    reason,
                })?;
            }
        }
    }
    enough(stage)?;
    wait_registered(stage, &parts, &testers).await?;
    stage.live.testers = Some(testers);
    Ok(())
}

/// As in SETUP: under half of the nodes there is no point in going on.
fn enough(stage: &Stage<'_>) -> Result<(), StepError> {
    let (left, all) = (stage.live.hosts.len(), stage.settings.fleet.nodes.len());
    if 2 * left >= all {
        return Ok(());
    }
    let reasons = stage
        .recorder
        .with(|run| run.degraded.values().cloned().collect::<Vec<_>>());
    Err(StepError::Infrastructure(format!(
        "only {left} of {all} nodes can be used: {}",
        reasons.join("; ")
    )))
}

/// The registry's certificate and token come first: every unit names them.
async fn parts_with_registry(
    stage: &mut Stage<'_>,
    binaries: &Binaries,
) -> Result<Parts, StepError> {
    let mut parts = Parts::assign(stage.settings, |name| stage.live.hosts.contains_key(name));
    let Some((name, address)) = parts.registry.clone() else {
        let why = match &stage.settings.registry {
            Some((name, _)) => {
                format!("no registry: {name} was not reached; peers did not register")
            }
            None => return Ok(parts),
        };
        stage.recorder.record(Event::Finding { detail: why })?;
        return Ok(parts);
    };
    let host = Arc::clone(&stage.live.hosts[&name]);
    if let Err(error) = prepare_registry(&host, stage.settings, binaries, address).await {
        stage.recorder.record(Event::Finding {
            detail: format!("no registry: {error}"),
        })?;
        parts.registry = None;
    }
    Ok(parts)
}

async fn prepare_registry(
    host: &Host,
    settings: &Settings,
    binaries: &Binaries,
    address: std::net::SocketAddr,
) -> Result<(), FleetError> {
    let path = settings.install_path();
    host.upload(&[&binaries.registry], path, |_, _| {}).await?;
    let program = fleet::quote(&binaries.registry.path_in(path));
    let (name, ip) = (fleet::quote(&host.node.hostname), address.ip());
    let script = format!(
        "set -e; mkdir -p {REGISTRY_DIR}; {program} certify --name {name} --address {ip} --out {REGISTRY_DIR}; \
         {program} token --out {REGISTRY_TOKEN}"
    );
    host.script_ok(&script, None, COMMAND).await.map(drop)
}

/// What a peer needs to be believed by the registry, and to believe it.
struct Credentials {
    certificate: String,
    token: String,
}

async fn credentials(stage: &Stage<'_>, parts: &Parts) -> Result<Option<Credentials>, StepError> {
    let Some((name, _)) = &parts.registry else {
        return Ok(None);
    };
    let host = &stage.live.hosts[name];
    let read = async |path: &str| host.run(&["cat", path], COMMAND).await;
    let (certificate, token) = futures::future::try_join(read(REGISTRY_CA), read(REGISTRY_TOKEN))
        .await
        .map_err(|e| StepError::infrastructure(&e))?;
    Ok(Some(Credentials { certificate, token }))
}

enum DeployError {
    Record(crate::recorder::RecordError),
    /// This node cannot take part.
    Node(String),
}

impl From<FleetError> for DeployError {
    fn from(error: FleetError) -> Self {
        Self::Node(error.to_string())
    }
}

impl From<AgentError> for DeployError {
    fn from(error: AgentError) -> Self {
        Self::Node(crate::error_chain(&error))
    }
}

struct Work<'a> {
    settings: &'a Settings,
    recorder: &'a Recorder,
    parts: &'a Parts,
    binaries: &'a Binaries,
    credentials: Option<&'a Credentials>,
}

impl Work<'_> {
    async fn deploy(&self, host: &Arc<Host>) -> Result<Vec<(Place, Tester)>, DeployError> {
        let peers = self.peers_of(host.name());
        let tested = peers > 0;
        let services =
            deployment::services(self.settings, self.parts, self.binaries, &host.node, peers);
        let (nat, credentials) =
            tokio::join!(self.apply_nat(host, tested), self.write_credentials(host));
        nat?;
        credentials?;
        let path = self.settings.install_path();
        let installed = host
            .install(&services, path, |artifact, sent| {
                self.recorder.progress(&Progress::Upload {
                    node: host.name().clone(),
                    binary: artifact.name.clone(),
                    sent,
                    total: artifact.content.len() as u64,
                });
            })
            .await?;
        let testers = if tested {
            self.connect(host, peers).await?
        } else {
            Vec::new()
        };
        for service in &installed {
            self.record(host, service, &testers)
                .await
                .map_err(DeployError::Record)?;
        }
        let artifacts: Vec<_> = services.iter().map(|s| &s.artifact).collect();
        host.prune(&artifacts, path).await?;
        Ok(testers)
    }

    /// How many the plan gives a node; none where it is not tested.
    fn peers_of(&self, name: &NodeName) -> u16 {
        let planned = |run: &model::run::Run| {
            let plan = run.plan.as_ref()?;
            let node = plan.nodes.iter().find(|n| n.name == *name && n.tested)?;
            Some(node.peers)
        };
        self.recorder.with(planned).unwrap_or(0)
    }

    async fn apply_nat(&self, host: &Host, tested: bool) -> Result<(), FleetError> {
        match &host.node.nat {
            Some(nat) if tested => {
                host.apply_nat(&NatBox {
                    spec: nat.spec,
                    ports: ALL_PORTS,
                })
                .await?;
                match host.node.address_in(Family::Ipv6) {
                    Some(IpAddr::V6(v6)) if self.settings.families().contains(&Family::Ipv6) => {
                        host.apply_firewall(v6).await
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Through standard input, so that no process list ever shows the token.
    async fn write_credentials(&self, host: &Host) -> Result<(), FleetError> {
        let is_registry = self
            .parts
            .registry
            .as_ref()
            .is_some_and(|(name, _)| name == host.name());
        let Some(credentials) = self.credentials.filter(|_| !is_registry) else {
            return Ok(());
        };
        let script = format!(
            "set -e; umask 077; mkdir -p {REGISTRY_DIR}; read -r token; printf '%s\\n' \"$token\" > {REGISTRY_TOKEN}; \
             cat > {REGISTRY_CA}"
        );
        let stdin = format!("{}\n{}", credentials.token.trim(), credentials.certificate);
        host.script_ok(&script, Some(stdin.as_bytes()), COMMAND)
            .await
            .map(drop)
    }

    async fn connect(
        &self,
        host: &Arc<Host>,
        peers: u16,
    ) -> Result<Vec<(Place, Tester)>, DeployError> {
        futures::stream::iter(Place::all(peers))
            .map(|place| async move {
                let label = place.unit(self.settings);
                let remote = place.socket(self.settings);
                let forwarded = host.forward_socket(&remote, &label).await?;
                let addresses = deployment::bind_addresses(self.settings, &host.node);
                let tester =
                    Tester::connect(Arc::clone(host), forwarded, addresses, place.ports()).await?;
                Ok((place, tester))
            })
            .buffered(SOCKETS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn record(
        &self,
        host: &Host,
        service: &Installed,
        testers: &[(Place, Tester)],
    ) -> Result<(), crate::recorder::RecordError> {
        let own = testers
            .iter()
            .find(|(place, _)| service.unit == place.unit(self.settings));
        let hello = match own {
            Some((_, tester)) => tester.agent().await.ok().map(|agent| agent.hello.clone()),
            None => None,
        };
        self.recorder.record(Event::Deployed(Deployed {
            node: host.name().clone(),
            binary: service.binary.clone(),
            unit: service.unit.clone(),
            digest: service.digest.clone(),
            sent_bytes: service.sent_bytes,
            stack: hello.map(|h| format!("{} {}", h.stack, h.stack_version)),
        }))
    }
}

/// Waits until every tester that answers us is in the registry too.
async fn wait_registered(
    stage: &Stage<'_>,
    parts: &Parts,
    testers: &Testers,
) -> Result<(), StepError> {
    let Some((name, _)) = &parts.registry else {
        return Ok(());
    };
    let Some(host) = stage.live.hosts.get(name) else {
        return Ok(());
    };
    let mut expected = Vec::new();
    for (peer, tester) in testers.stack.iter().chain(&testers.reference) {
        let agent = tester
            .agent()
            .await
            .map_err(|e| StepError::infrastructure(&e))?;
        let has_several = testers
            .stack
            .contains_key(&PeerId::new(peer.node.clone(), 2));
        let name = if has_several {
            peer.to_string()
        } else {
            peer.node.to_string()
        };
        expected.push((name, &peer.node, agent.hello.pid));
    }
    let began = Instant::now();
    loop {
        let registered = fetch_peers(stage, host, parts).await;
        let peers = registered.iter().flat_map(|p| &p.peers);
        let present: HashSet<(&str, u32)> = peers
            .filter(|p| p.alive)
            .map(|p| (p.registration.node.as_str(), p.registration.pid))
            .collect();
        let missing: Vec<String> = expected
            .iter()
            .filter(|(_, node, pid)| !present.contains(&(node.as_str(), *pid)))
            .map(|(name, ..)| name.clone())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let present = expected.len() - missing.len();
        stage.recorder.progress(&Progress::Doing(format!(
            "{present} of {} testers in the registry",
            expected.len()
        )));
        if began.elapsed() > REGISTRATION {
            let why = registered
                .err()
                .map_or(String::new(), |e| format!(" ({e})"));
            return Err(StepError::Infrastructure(format!(
                "not in the registry on {name} after {} s{why}: {}; look at `journalctl -u {}` there",
                REGISTRATION.as_secs(),
                missing.join(", "),
                stage.settings.unit("registry"),
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn fetch_peers(stage: &Stage<'_>, host: &Host, parts: &Parts) -> Result<Peers, String> {
    let text = fetch(
        stage.settings,
        host,
        parts,
        "/api/peers",
        stage.live.binaries.as_ref(),
    )
    .await?;
    serde_json::from_str(&text).map_err(|e| e.to_string())
}

/// Asks the registry from its own host, as nothing else need be able to reach it.
pub async fn fetch(
    settings: &Settings,
    host: &Host,
    parts: &Parts,
    what: &str,
    binaries: Option<&Binaries>,
) -> Result<String, String> {
    let (Some(binaries), Some(url)) = (binaries, parts.registry_url()) else {
        return Err("no registry".into());
    };
    let program = binaries.registry.path_in(settings.install_path());
    host.run(
        &[&program, "get", what, "--url", &url, "--ca", REGISTRY_CA],
        COMMAND,
    )
    .await
    .map_err(|e| e.to_string())
}
