//! The looks at every service during a wait.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::{Forwarded, Host, SCRIPT_OF, quote};
use futures::future::join_all;
use model::health::Health;
use model::inventory::{NodeName, PeerId};
use model::run::Run;

use crate::agent::Agent;
use crate::deployment::Instance;
use crate::live::Live;
use crate::recorder::Recorder;
use crate::settings::Settings;

const COMMAND: Duration = Duration::from_secs(20);

#[derive(Default)]
pub struct Prober {
    last: Option<Instant>,
    /// Of the stack's testers, each forwarded over the session of this host.
    sockets: HashMap<PeerId, (Arc<Host>, Forwarded)>,
}

impl Prober {
    pub fn is_due(&self, period: Duration) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= period)
    }

    /// The next look is due at once.
    pub fn begin(&mut self) {
        self.last = None;
    }

    /// Every service that was deployed, on every node that answers. A node that
    /// does not is left out: what is not known is not the stack's failure.
    pub async fn look(
        &mut self,
        settings: &Settings,
        live: &Live,
        recorder: &Recorder,
    ) -> Vec<Health> {
        self.last = Some(Instant::now());
        let deployed: BTreeSet<(NodeName, String)> = recorder.with(|run| {
            let all = run.deployed.iter();
            all.map(|d| (d.node.clone(), d.unit.clone())).collect()
        });
        let asked = live.hosts.values().map(|host| {
            let units: Vec<&str> = deployed
                .iter()
                .filter(|(node, _)| node == host.name())
                .map(|(_, unit)| unit.as_str())
                .collect();
            let known = |number| {
                let peer = PeerId::new(host.name().clone(), number);
                let known = self.sockets.get(&peer);
                let known = known.filter(|(then, _)| Arc::ptr_eq(then, host));
                known.map(|(_, socket)| socket.clone())
            };
            let peers = recorder.with(|run| peers_of(run, host.name()));
            let testers: Vec<_> = Instance::of_stack(peers)
                .map(|instance| (instance, known(instance.number)))
                .collect();
            async move { (host, look_at(settings, host, &units, testers).await) }
        });
        let looks = join_all(asked).await;
        let mut all = Vec::new();
        self.sockets.clear();
        for (host, (services, sockets)) in looks {
            all.extend(services);
            for (number, socket) in sockets {
                let peer = PeerId::new(host.name().clone(), number);
                self.sockets.insert(peer, (Arc::clone(host), socket));
            }
        }
        all
    }
}

fn peers_of(run: &Run, node: &NodeName) -> u16 {
    let planned = run.plan.iter().flat_map(|plan| &plan.nodes);
    let tested = planned.filter(|planned| planned.tested && planned.name == *node);
    tested.map(|planned| planned.peers).next().unwrap_or(0)
}

/// The services, and the sockets of those peers that could be asked.
async fn look_at(
    settings: &Settings,
    host: &Arc<Host>,
    units: &[&str],
    testers: Vec<(Instance, Option<Forwarded>)>,
) -> (Vec<Health>, Vec<(u16, Forwarded)>) {
    if units.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let Ok(said) = host
        .script_ok(&script(units, settings.install_path()), None, COMMAND)
        .await
    else {
        return (Vec::new(), Vec::new());
    };
    let mut services = read(host.name(), &said);
    let mut sockets = Vec::new();
    for (instance, socket) in testers {
        let unit = instance.unit(settings);
        let Some(own) = services.iter_mut().find(|service| service.unit == unit) else {
            continue;
        };
        let socket = match socket {
            Some(socket) => Some(socket),
            None => {
                let label = format!("health-{}", instance.number);
                let remote = instance.socket(settings);
                host.forward_socket(&remote, &label).await.ok()
            }
        };
        let Some(socket) = socket else { continue };
        let answers = Agent::connect(host.name(), &socket.path).await.is_ok();
        // A session that broke just now says nothing of the tester.
        if answers || host.is_reachable().await {
            own.answers = Some(answers);
        }
        sockets.push((instance.number, socket));
    }
    (services, sockets)
}

/// A line for the boot, and one for each unit. A running binary's file says its
/// digest, and the kernel lets nobody write to it; a script's has to be taken.
fn script(units: &[&str], install_path: &str) -> String {
    let units: Vec<String> = units.iter().map(|unit| quote(unit)).collect();
    format!(
        "cat /proc/sys/kernel/random/boot_id
{SCRIPT_OF}
for unit in {}; do
  restarts=$(systemctl show -p NRestarts --value $unit); pid=$(systemctl show -p MainPID --value $unit)
  file=$(readlink /proc/$pid/exe); script=$(script_of $pid {dir}/$unit)
  [ -n \"$script\" ] && file=script-$(sha256sum < $script | cut -d ' ' -f 1)
  memory=$(sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$pid/status 2>/dev/null)
  echo $unit ${{restarts:-0}} ${{pid:-0}} ${{memory:-0}} ${{file:-none}}
done",
        units.join(" "),
        dir = quote(install_path.trim_end_matches('/')),
    )
}

fn read(node: &NodeName, said: &str) -> Vec<Health> {
    let mut lines = said.lines();
    let boot = lines.next().unwrap_or_default().trim().to_owned();
    lines
        .filter_map(|line| {
            let mut words = line.split(' ');
            let unit = words.next()?.to_owned();
            let restarts = words.next()?.parse().ok()?;
            let pid = words.next()?.parse().ok()?;
            let kilobytes: u64 = words.next()?.parse().ok()?;
            let digest = words.next()?.rsplit('-').next()?;
            Some(Health {
                node: node.clone(),
                unit,
                boot: boot.clone(),
                digest: (digest.len() == 64).then(|| digest.to_owned()),
                pid,
                restarts,
                resident_bytes: kilobytes << 10,
                answers: None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_is_read() {
        let digest = "a".repeat(64);
        let said = format!("boot-1\nx.service 2 17 2048 /opt/t/x-{digest}\ny.service 0 0 0 none\n");
        let found = read(&NodeName::new("cone"), &said);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].restarts, found[0].resident_bytes), (2, 2 << 20));
        assert_eq!(found[0].digest.as_ref(), Some(&digest));
        assert_eq!(found[1].digest, None);
    }
}
