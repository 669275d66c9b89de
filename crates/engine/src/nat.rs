//! Measuring a NAT box: in a run, and on its own.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use fleet::{Artifact, FleetError, Host, INNER_ADDRESS, NatBox, Service, Unit, inner_v6_address};
use futures::future::try_join_all;
use model::family::Family;
use model::inventory::{Fleet, Node, NodeName};
use model::nat::{NatSpec, Observations};
use model::protocol::{Call, PortRange, Probe, Reflector};

use crate::agent::{Agent, AgentError};
use crate::deployment::{self, ALL_PORTS, PROBE_PORTS, PROBER_REFLECTOR_PORT, Placed};

/// How long a prober waits for a datagram before it counts as filtered, at most.
const PATIENCE: Duration = Duration::from_millis(1500);

/// All of a certificate's probes but the silences.
const PROBING: Duration = Duration::from_secs(30);

/// Timeouts up to this many seconds are measured wherever they are configured.
pub const SHORT_TIMEOUT: u16 = 30;

/// The longest silence that is kept where nothing is configured, in seconds.
pub const LONGEST_SILENCE: u16 = 200;

/// Each silence is so much longer than the one before.
const STEP: f64 = 1.1;

const FIRST_SILENCE_MS: f64 = 2000.0;

#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error(transparent)]
    Host(#[from] FleetError),
    #[error(transparent)]
    Prober(#[from] AgentError),
}

/// Silences that bracket a timeout of so many seconds to a tenth; none for `None`.
pub fn silences(timeout: Option<u16>) -> Vec<u64> {
    let Some(seconds) = timeout else {
        return Vec::new();
    };
    let longest = f64::from(seconds) * 1000.0 * STEP * 1.05;
    std::iter::successors(Some(FIRST_SILENCE_MS), |ms| Some(ms * STEP))
        .take_while(|ms| *ms <= longest)
        .map(|ms| ms.round() as u64)
        .collect()
}

/// The call that measures what is in front of an address.
pub fn probe(
    address: IpAddr,
    ports: PortRange,
    reflectors: &[SocketAddr],
    silences_ms: Vec<u64>,
) -> Probe {
    let reflector = |primary: &SocketAddr| Reflector {
        primary: *primary,
        alternate: SocketAddr::new(primary.ip(), primary.port() + 1),
    };
    Probe {
        address,
        ports,
        reflectors: reflectors.iter().map(reflector).collect(),
        patience_ms: u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX),
        silences_ms,
        stun: None,
    }
}

pub(crate) async fn measure(agent: &Agent, probe: Probe) -> Result<Observations, AgentError> {
    let longest = probe.silences_ms.iter().max().copied().unwrap_or(0);
    let limit = PROBING + Duration::from_millis(longest);
    agent.call(Call::Probe(probe), limit).await
}

/// The box that a host is to have.
pub fn boxed(spec: NatSpec) -> NatBox {
    NatBox {
        spec,
        ports: ALL_PORTS,
    }
}

/// What it takes to measure a box without a run: the prober in it, and reflectors
/// on public nodes.
pub struct Prober {
    /// `udp-test`.
    pub binary: Artifact,
    pub install_path: String,
}

impl Prober {
    const UNIT: &str = "vps-test-prober.service";
    const REFLECTOR: &str = "vps-test-reflector.service";
    const SOCKET: &str = "/run/vps-test/vps-test-prober.sock";

    /// Which nodes reflect, and where.
    pub fn reflectors(
        &self,
        fleet: &Fleet,
        family: Family,
        is_bootstrap: impl Fn(&NodeName) -> bool,
    ) -> Vec<Placed> {
        deployment::reflectors(fleet, family, PROBER_REFLECTOR_PORT, is_bootstrap, |_| true)
    }

    /// Has these hosts reflect.
    ///
    /// # Errors
    /// A host refuses.
    pub async fn reflect(&self, hosts: &[&Host], all: &[Placed]) -> Result<(), FleetError> {
        let installs = hosts.iter().filter_map(|host| {
            let words = deployment::coordinator_words(all, host.name())?;
            let mut service = self.service(Self::REFLECTOR, &words);
            service.unit.description = "reflector of vps-test".into();
            Some(async move {
                host.install(&[service], &self.install_path, |_, _| {})
                    .await
            })
        });
        try_join_all(installs).await.map(drop)
    }

    /// Puts the prober into the host's box.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn install(&self, host: &Host) -> Result<(), FleetError> {
        let (node, socket) = (host.name(), Self::SOCKET);
        let words = format!("agent --node {node} --project udp-test --socket {socket}");
        let mut service = self.service(Self::UNIT, &words);
        service.unit.requires = vec![NatBox::UNIT.into()];
        service.unit.netns = Some(NatBox::NETNS.into());
        host.install(&[service], &self.install_path, |_, _| {})
            .await
            .map(drop)
    }

    /// What the prober in the host's box sees from its address there: of the box in
    /// IPv4, of the firewall in IPv6. It hears nothing of a label.
    ///
    /// # Errors
    /// The host or the prober refuses.
    pub async fn measure(
        &self,
        host: &Host,
        address: IpAddr,
        reflectors: &[SocketAddr],
        silences_ms: Vec<u64>,
        stun: Option<SocketAddr>,
    ) -> Result<Observations, MeasureError> {
        let forwarded = host.forward_socket(Self::SOCKET, "prober").await?;
        let agent = connect(host.name(), &forwarded.path).await?;
        let mut call = probe(address, PROBE_PORTS, reflectors, silences_ms);
        call.stun = stun;
        Ok(measure(&agent, call).await?)
    }

    fn service(&self, name: &str, words: &str) -> Service {
        Service {
            artifact: self.binary.clone(),
            unit: Unit {
                name: name.into(),
                description: "prober of vps-test".into(),
                exec: words.split(' ').map(str::to_owned).collect(),
                requires: Vec::new(),
                netns: None,
                instances: None,
            },
            pinned: false,
        }
    }
}

/// Where a service in the box of this node has its address in this family.
pub fn inner_address(node: &Node, family: Family) -> Option<IpAddr> {
    match (family, node.address_in(family)?) {
        (Family::Ipv6, IpAddr::V6(own)) => Some(inner_v6_address(own).into()),
        _ => Some(INNER_ADDRESS.into()),
    }
}

/// A service that has just started may not listen yet.
async fn connect(node: &NodeName, socket: &Path) -> Result<Agent, AgentError> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        if let Ok(agent) = Agent::connect(node, socket).await {
            return Ok(agent);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Agent::connect(node, socket).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_bracket_what_they_are_asked_for() {
        assert!(silences(None).is_empty());
        for wanted in [5, 20, 120] {
            let all = silences(Some(wanted));
            let wanted = u64::from(wanted) * 1000;
            let above = all.iter().find(|ms| **ms > wanted);
            let below = all.iter().rev().find(|ms| **ms <= wanted);
            let (below, above) = (*below.unwrap(), *above.unwrap());
            assert!(
                (above - below) * 9 <= wanted,
                "{below} to {above} for {wanted}"
            );
        }
    }
}
