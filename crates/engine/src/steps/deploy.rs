//! DEPLOY: NAT boxes, registry, coordinators, testers; then wait until every
//! tester answers and is in the registry.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::{Artifact, FleetError, Host, Installed, NatBox, Unfit};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use model::event::{Deployed, Event};
use model::inventory::{NodeName, PeerId};

use super::{Stage, StepError};
use crate::agent::AgentError;
use crate::capture::Keep;
use crate::deployment::{
    self, ALL_PORTS, Instance, Parts, Placed, Ports, REGISTRY_CA, REGISTRY_DIR, REGISTRY_TOKEN,
    Which,
};
use crate::live::{Binaries, Testers};
use crate::publish::Publisher;
use crate::recorder::{Progress, Recorder};
use crate::registry::{self, Registry};
use crate::settings::Settings;
use crate::tester::{OwnPorts, Tester};

/// How long testers may take to appear in the registry.
const REGISTRATION: Duration = Duration::from_secs(60);

/// Forwarded sockets that are asked for at once on one session.
const SOCKETS_AT_ONCE: usize = 8;

const COMMAND: Duration = Duration::from_secs(30);

pub async fn perform(stage: &mut Stage<'_>) -> Result<(), StepError> {
    let binaries = stage.live.binaries.clone();
    let binaries = binaries.ok_or_else(|| StepError::Infrastructure("nothing was built".into()))?;
    let parts = parts_with_registry(stage, &binaries).await?;
    let credentials = credentials(stage, &parts, &binaries).await?;
    let work = Work {
        settings: stage.settings,
        recorder: stage.recorder,
        parts: &parts,
        binaries: &binaries,
        credentials: credentials.as_ref(),
    };

    let hosts: Vec<Arc<Host>> = stage.live.hosts.values().cloned().collect();
    let outcomes = join_all(hosts.iter().map(|host| work.deploy(host))).await;
    let mut testers = Testers::default();
    for (host, outcome) in hosts.iter().zip(outcomes) {
        match outcome {
            Ok(running) => {
                for (instance, tester) in running {
                    let kind = match instance.which {
                        Which::Stack => &mut testers.stack,
                        Which::Reference => &mut testers.reference,
                    };
                    let peer = PeerId::new(host.name().clone(), instance.number);
                    kind.insert(peer, tester);
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
    testers.stack_coordinators = running(stage, &parts.stack_coordinators)?;
    testers.reference_coordinators = running(stage, &parts.reference_coordinators)?;
    wait_registered(stage, &testers).await?;
    stage.live.testers = Some(testers);
    publish(stage);
    Ok(())
}

fn publish(stage: &mut Stage<'_>) {
    let registry = stage.live.registry.as_ref();
    stage.live.publisher =
        registry.and_then(|registry| Publisher::spawn(Arc::clone(registry), stage.recorder));
}

/// Has the registry at hand again and goes on publishing to it, where a run goes on
/// without anything to deploy. One that does not answer is no reason to stop.
pub async fn rejoin_registry(stage: &mut Stage<'_>) {
    let parts = Parts::assign(stage.settings, |name| stage.live.hosts.contains_key(name));
    let (Some((name, _)), Some(url)) = (&parts.registry, parts.registry_url()) else {
        return;
    };
    let (Some(host), Some(binaries)) = (stage.live.hosts.get(name), &stage.live.binaries) else {
        return;
    };
    let program = binaries.registry.path_in(stage.settings.install_path());
    let registry = Registry::open(Arc::clone(host), program, url);
    if let Ok(registry) = registry.log_in(stage.settings, "engine").await {
        stage.live.registry = Some(Arc::new(registry));
        publish(stage);
    }
}

/// As in SETUP: under half of the nodes there is no point in going on.
fn enough(stage: &Stage<'_>) -> Result<(), StepError> {
    let (left, all) = (stage.live.hosts.len(), stage.settings.fleet.nodes.len());
    if 2 * left >= all {
        return Ok(());
    }
    let reasons = stage.recorder.with(|run| {
        run.degraded
            .values()
            .map(|why| headline(why))
            .collect::<Vec<_>>()
    });
    Err(StepError::Infrastructure(format!(
        "only {left} of {all} nodes can be used: {}",
        reasons.join("; ")
    )))
}

/// The coordinators that peers are told of. Without one behind which peers could
/// meet, a failure to do so would say nothing about the stack.
fn running(stage: &Stage<'_>, placed: &[Placed]) -> Result<Vec<SocketAddr>, StepError> {
    let on_a_host = |(name, _): &&Placed| stage.live.hosts.contains_key(name);
    let left: Vec<SocketAddr> = placed.iter().filter(on_a_host).map(|(_, a)| *a).collect();
    if !left.is_empty() || placed.is_empty() {
        return Ok(left);
    }
    let reasons = stage.recorder.with(|run| {
        let why = placed.iter().filter_map(|(name, _)| run.degraded.get(name));
        why.map(|why| headline(why)).collect::<Vec<_>>()
    });
    Err(StepError::Infrastructure(format!(
        "no coordinator is left for peers to meet through: {}",
        reasons.join("; ")
    )))
}

/// What happened and why; last words are with the node.
fn headline(reason: &str) -> String {
    reason.lines().take(2).collect::<Vec<_>>().join(": ")
}

/// The registry's certificate and token come first: every unit names them.
async fn parts_with_registry(
    stage: &mut Stage<'_>,
    binaries: &Binaries,
) -> Result<Parts, StepError> {
    let parts = Parts::assign(stage.settings, |name| stage.live.hosts.contains_key(name));
    let Some((name, address)) = parts.registry.clone() else {
        let Some((name, _)) = &stage.settings.registry else {
            return Ok(parts);
        };
        return Err(StepError::Infrastructure(format!(
            "no registry: {name} was not reached, and peers have nowhere else to register"
        )));
    };
    let host = Arc::clone(&stage.live.hosts[&name]);
    prepare_registry(&host, stage.settings, binaries, address)
        .await
        .map_err(|error| StepError::Infrastructure(format!("no registry on {name}: {error}")))?;
    Ok(parts)
}

async fn prepare_registry(
    host: &Host,
    settings: &Settings,
    binaries: &Binaries,
    address: SocketAddr,
) -> Result<(), FleetError> {
    let path = settings.install_path();
    host.upload(&[&binaries.registry], path, |_, _| {}).await?;
    let program = fleet::quote(&binaries.registry.path_in(path));
    let (name, ip) = (fleet::quote(&host.node.hostname), address.ip());
    let script = format!(
        "mkdir -p {REGISTRY_DIR} && {program} certify --name {name} --address {ip} --out {REGISTRY_DIR}"
    );
    host.script_ok(&script, None, COMMAND).await.map(drop)
}

/// What peers need to believe the registry and to be believed by it.
struct Credentials {
    certificate: String,
    /// One a node: a peer writes for its own node alone.
    tokens: BTreeMap<NodeName, String>,
}

/// New tokens at every deploy; those of the one before end some time later.
async fn credentials(
    stage: &mut Stage<'_>,
    parts: &Parts,
    binaries: &Binaries,
) -> Result<Option<Credentials>, StepError> {
    let (Some((name, _)), Some(url)) = (&parts.registry, parts.registry_url()) else {
        return Ok(None);
    };
    let host = Arc::clone(&stage.live.hosts[name]);
    let settings = stage.settings;
    let program = binaries.registry.path_in(settings.install_path());
    let nodes: Vec<NodeName> = stage.live.hosts.keys().cloned().collect();
    let registry = Registry::open(host, program, url);
    let asked = async {
        let tokens = registry::peer_tokens(&registry, settings, &nodes).await?;
        let certificate = registry.host.run(&["cat", REGISTRY_CA], COMMAND).await?;
        let operated = registry.log_in(settings, "engine").await?;
        Ok::<_, FleetError>((
            operated,
            Credentials {
                certificate,
                tokens,
            },
        ))
    };
    let (registry, credentials) = asked.await.map_err(|e| StepError::infrastructure(&e))?;
    for token in credentials.tokens.values() {
        crate::redact::learn(token);
    }
    stage.live.registry = Some(Arc::new(registry));
    Ok(Some(credentials))
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
    async fn deploy(&self, host: &Arc<Host>) -> Result<Vec<(Instance, Tester)>, DeployError> {
        let peers = self.peers_of(host.name());
        let tested = peers > 0;
        let services =
            deployment::services(self.settings, self.parts, self.binaries, &host.node, peers);
        self.check_fit(host, &services).await?;
        let (nat, credentials) =
            tokio::join!(self.apply_nat(host, tested), self.write_credentials(host));
        nat?;
        credentials?;
        self.watch(host).await.map_err(DeployError::Record)?;
        self.capture(host).await.map_err(DeployError::Record)?;
        let path = self.settings.install_path();
        if tested {
            let companions: Vec<_> = self.binaries.companions.iter().collect();
            host.upload(&companions, path, |_, _| {}).await?;
        }
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
            self.check_digest(service, &testers)?;
            self.record(host, service, &testers)
                .await
                .map_err(DeployError::Record)?;
        }
        let services = services.iter().map(|s| &s.artifact);
        let artifacts: Vec<_> = services.chain(&self.binaries.companions).collect();
        host.prune(&artifacts, path).await?;
        Ok(testers)
    }

    /// Before anything is sent: can this host run what it is to get?
    async fn check_fit(&self, host: &Host, services: &[fleet::Service]) -> Result<(), DeployError> {
        let facts = self
            .recorder
            .with(|run| run.reached.get(host.name()).cloned());
        let Some(facts) = facts else { return Ok(()) };
        services
            .iter()
            .try_for_each(|service| {
                let needs = &service.artifact.needs;
                needs.check(
                    host.name(),
                    &service.artifact,
                    &facts.arch,
                    facts.glibc.as_deref(),
                )
            })
            .map_err(|unfit| DeployError::Node(unfit.to_string()))?;
        let artifacts: BTreeMap<&str, &Artifact> = services
            .iter()
            .map(|service| (service.artifact.name.as_str(), &service.artifact))
            .collect();
        for artifact in artifacts.into_values() {
            self.check_interpreter(host, artifact).await?;
        }
        Ok(())
    }

    /// One more round trip, for scripts alone.
    async fn check_interpreter(&self, host: &Host, script: &Artifact) -> Result<(), DeployError> {
        let Some(interpreter) = &script.needs.interpreter else {
            return Ok(());
        };
        if host.has_program(&interpreter.program).await? {
            return Ok(());
        }
        let unfit = Unfit::Interpreter {
            node: host.name().clone(),
            binary: script.name.clone(),
            program: interpreter.program.clone(),
            line: interpreter.line.clone(),
        };
        Err(DeployError::Node(unfit.to_string()))
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
                .await
            }
            _ => Ok(()),
        }
    }

    /// A host that cannot count takes part all the same, and its paths are unmeasured.
    async fn watch(&self, host: &Arc<Host>) -> Result<(), crate::recorder::RecordError> {
        for observer in self.settings.observers.all() {
            if let Err(error) = observer.watch(host).await {
                self.recorder.record(Event::Finding {
                    detail: format!(
                        "the paths of attempts with {} are unmeasured: {}",
                        host.name(),
                        error.0
                    ),
                })?;
            }
        }
        Ok(())
    }

    async fn capture(&self, host: &Host) -> Result<(), crate::recorder::RecordError> {
        if self.settings.capture.keep == Keep::None {
            return Ok(());
        }
        if let Err(error) = host.start_capture().await {
            self.recorder.record(Event::Finding {
                detail: format!("no packets are captured at {}: {error}", host.name()),
            })?;
        }
        Ok(())
    }

    /// Through standard input, so that no process list ever shows the token.
    async fn write_credentials(&self, host: &Host) -> Result<(), FleetError> {
        let Some(credentials) = self.credentials else {
            return Ok(());
        };
        let Some(token) = credentials.tokens.get(host.name()) else {
            return Ok(());
        };
        let is_registry = self
            .parts
            .registry
            .as_ref()
            .is_some_and(|(name, _)| name == host.name());
        // There the certificate is the registry's own file.
        let certificate = if is_registry {
            String::new()
        } else {
            format!("; cat > {REGISTRY_CA}")
        };
        let script = format!(
            "set -e; umask 077; mkdir -p {REGISTRY_DIR}; read -r token; printf '%s\\n' \"$token\" > {REGISTRY_TOKEN}{certificate}"
        );
        let stdin = format!("{token}\n{}", credentials.certificate);
        host.script_ok(&script, Some(stdin.as_bytes()), COMMAND)
            .await
            .map(drop)
    }

    async fn connect(
        &self,
        host: &Arc<Host>,
        peers: u16,
    ) -> Result<Vec<(Instance, Tester)>, DeployError> {
        let own = Ports::of(self.settings);
        futures::stream::iter(Instance::all(peers))
            .map(|instance| async move {
                let unit = instance.unit(self.settings);
                let remote = instance.socket(self.settings);
                let forwarded = host.forward_socket(&remote, &unit).await?;
                let address = deployment::bind_address(&host.node);
                let ports = OwnPorts {
                    range: instance.ports(own),
                    cooloff: self.settings.cooloff(),
                };
                let tester =
                    Tester::connect(Arc::clone(host), unit, forwarded, address, ports).await?;
                Ok((instance, tester))
            })
            .buffered(SOCKETS_AT_ONCE)
            .try_collect()
            .await
    }

    /// The kernel says which executable a unit's process runs. Who answers on its
    /// socket has to be that one.
    fn check_digest(
        &self,
        service: &Installed,
        testers: &[(Instance, Tester)],
    ) -> Result<(), DeployError> {
        let own = testers
            .iter()
            .find(|(instance, _)| instance.unit(self.settings) == service.unit);
        match own.map(|(_, tester)| &tester.hello().digest) {
            Some(said) if *said != service.digest => Err(DeployError::Node(format!(
                "{} runs the executable {}, and who answers on its socket says that it is {said}: \
                 what would be tested is not what was built",
                service.unit, service.digest
            ))),
            _ => Ok(()),
        }
    }

    async fn record(
        &self,
        host: &Host,
        service: &Installed,
        testers: &[(Instance, Tester)],
    ) -> Result<(), crate::recorder::RecordError> {
        let own = testers
            .iter()
            .find(|(instance, _)| instance.unit(self.settings) == service.unit);
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
async fn wait_registered(stage: &Stage<'_>, testers: &Testers) -> Result<(), StepError> {
    let Some(registry) = stage.live.registry.clone() else {
        return Ok(());
    };
    let name = registry.host.name();
    let mut expected = Vec::new();
    for (peer, tester) in testers.stack.iter().chain(&testers.reference) {
        let agent = tester
            .agent()
            .await
            .map_err(|e| StepError::infrastructure(&e))?;
        expected.push((peer, agent.hello.pid));
    }
    let began = Instant::now();
    loop {
        let registered = registry.peers().await;
        let alive = registered.iter().flatten().filter(|p| p.alive);
        let present: HashSet<(&str, u32)> = alive
            .map(|p| (p.registration.node.as_str(), p.registration.pid))
            .collect();
        let missing: Vec<String> = expected
            .iter()
            .filter(|(peer, pid)| !present.contains(&(peer.node.as_str(), *pid)))
            .map(|(peer, _)| peer.to_string())
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
