//! SETUP: reach every node, and see that it can hold and run what is to come.

use std::sync::Arc;
use std::time::Duration;

use fleet::{Facts, Host};
use futures::StreamExt;
use model::event::{Event, NodeFacts};
use model::inventory::{Node, NodeName, Transport};

use super::{Stage, StepError};
use crate::lease::{Asked, Leases};
use crate::recorder::Progress;
use crate::settings::Settings;

/// Room for the current and the previous binary of everything we install.
const MIN_FREE: u64 = 256 << 20;

/// SSH sessions that are opened at once.
const AT_ONCE: usize = 64;

pub async fn perform(stage: &mut Stage<'_>) -> Result<(), StepError> {
    let settings = stage.settings;
    let nodes = &settings.fleet.nodes;
    let mut answers = futures::stream::iter(nodes)
        .map(|node| async move { (node, reach(settings, node).await) })
        .buffer_unordered(AT_ONCE);
    let mut reasons = Vec::new();
    while let Some((node, answer)) = answers.next().await {
        let event = match answer {
            Ok((host, facts)) => {
                stage.live.hosts.insert(node.name.clone(), Arc::new(host));
                Event::NodeReached {
                    node: node.name.clone(),
                    facts,
                }
            }
            Err(reason) => {
                reasons.push(reason.clone());
                Event::NodeDegraded {
                    node: node.name.clone(),
                    reason,
                }
            }
        };
        stage.recorder.record(event)?;
        let reached = stage.live.hosts.len();
        let doing = format!("{reached} of {} nodes reached", nodes.len());
        stage.recorder.progress(&Progress::Doing(doing));
    }
    drop(answers);
    enough(stage.live.hosts.len(), nodes.len(), &reasons)?;
    lease(stage, &mut reasons).await?;
    enough(stage.live.hosts.len(), nodes.len(), &reasons)
}

/// Nothing is changed on a node before it is ours.
pub async fn lease(stage: &mut Stage<'_>, reasons: &mut Vec<String>) -> Result<(), StepError> {
    let (asked, refusals) = Leases::take(stage.settings, stage.dir, &stage.live.hosts).await;
    match asked {
        Asked::Held(by) => return Err(StepError::Infrastructure(by)),
        Asked::Taken(leases) => stage.live.leases = Some(leases),
    }
    for (node, error) in refusals {
        stage.live.hosts.remove(&node);
        let reason = error.to_string();
        reasons.push(reason.clone());
        stage
            .recorder
            .record(Event::NodeDegraded { node, reason })?;
    }
    Ok(())
}

/// Sessions to whoever answers, without a look at them.
pub async fn connect(settings: &Settings) -> std::collections::BTreeMap<NodeName, Arc<Host>> {
    futures::stream::iter(&settings.fleet.nodes)
        .map(|node| Host::connect(&settings.reach, node))
        .buffer_unordered(AT_ONCE)
        .filter_map(async |host| host.ok())
        .map(|host| (host.name().clone(), Arc::new(host)))
        .collect()
        .await
}

/// Under half of the nodes there is no point in going on.
fn enough(reached: usize, all: usize, reasons: &[String]) -> Result<(), StepError> {
    if 2 * reached >= all && reached > 0 {
        return Ok(());
    }
    Err(StepError::Infrastructure(format!(
        "only {reached} of {all} nodes can be used, and half are needed: {}",
        reasons.join("; ")
    )))
}

async fn reach(settings: &Settings, node: &Node) -> Result<(Host, NodeFacts), String> {
    let path = settings.install_path();
    let host = Host::connect(&settings.reach, node)
        .await
        .map_err(|e| e.to_string())?;
    let facts = host.facts(path).await.map_err(|e| e.to_string())?;
    check_room(node, path, &facts)?;
    check_ports(settings, &host).await?;
    let facts = NodeFacts {
        reached_by: host.reached_by.clone(),
        kernel: facts.kernel,
        free_bytes: facts.free_bytes,
        clock_skew_ms: facts.clock_skew_ms,
        arch: facts.arch,
        glibc: facts.glibc,
    };
    Ok((host, facts))
}

fn check_room(node: &Node, path: &str, facts: &Facts) -> Result<(), String> {
    if facts.free_bytes >= MIN_FREE {
        return Ok(());
    }
    Err(format!(
        "{}: `{path}` has {} MiB free and {} MiB are needed; delete something or choose another deploy.install_path",
        node.name,
        facts.free_bytes >> 20,
        MIN_FREE >> 20
    ))
}

/// The ports that do not move must be free, or held by what we installed before.
async fn check_ports(settings: &Settings, host: &Host) -> Result<(), String> {
    let ports = fixed_ports(settings, host);
    if ports.is_empty() {
        return Ok(());
    }
    let looks: Vec<String> = ports
        .iter()
        .map(|(transport, port)| {
            let flag = if *transport == Transport::Udp { "u" } else { "t" };
            format!(
                "ss -Hln{flag}p 'sport = :{port}' | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p' | head -n 1 | \
                 while read -r pid; do script=$(script_of $pid '{own}/*.service'); echo {port} ${{script:-$(readlink /proc/$pid/exe)}}; done",
                own = settings.install_path().trim_end_matches('/'),
            )
        })
        .collect();
    let script = format!("{}\n{}", fleet::SCRIPT_OF, looks.join("; "));
    let answer = host
        .script_ok(&script, None, Duration::from_secs(20))
        .await
        .map_err(|e| e.to_string())?;
    let stranger = answer
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, program)| !program.starts_with(settings.install_path()));
    match stranger {
        None => Ok(()),
        Some((port, program)) => Err(format!(
            "{}: port {port} is taken by `{program}`; stop it, or change `bootstrap` in the config",
            host.name()
        )),
    }
}

fn fixed_ports(settings: &Settings, host: &Host) -> Vec<(Transport, u16)> {
    let here = |(name, port): &(_, u16)| (name == host.name()).then_some(*port);
    let coordinators = settings
        .bootstrap
        .iter()
        .filter_map(here)
        .map(|p| (Transport::Udp, p));
    let registry = settings
        .registry
        .iter()
        .filter_map(here)
        .map(|p| (Transport::Tcp, p));
    coordinators.chain(registry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_nodes_are_enough_and_less_are_not() {
        assert!(enough(5, 10, &[]).is_ok());
        assert!(enough(0, 0, &[]).is_err());
        let error = enough(4, 10, &["a: gone".into()]).unwrap_err().to_string();
        assert!(
            error.contains("only 4 of 10") && error.contains("a: gone"),
            "{error}"
        );
    }
}
