//! What runs where: the services of each node, as data.

use std::net::{IpAddr, SocketAddr};

use fleet::{Artifact, INNER_ADDRESS, NatBox, Service, Unit, inner_v6_address};
use model::family::Family;
use model::inventory::{Node, NodeName};
use model::protocol::PortRange;

use crate::live::Binaries;
use crate::settings::Settings;

/// Disjoint, so that two peers behind one box never want the same outer port,
/// and below the ports that Linux hands out by itself.
pub const PROBE_PORTS: PortRange = PortRange {
    first: 12000,
    last: 13999,
};
pub const REFERENCE_PORTS: PortRange = PortRange {
    first: 14000,
    last: 21999,
};
pub const STACK_PORTS: PortRange = PortRange {
    first: 22000,
    last: 31999,
};
pub const ALL_PORTS: PortRange = PortRange {
    first: 12000,
    last: 31999,
};

/// Of the reference's coordinators, each of which takes the next port as well.
const REFERENCE_COORDINATOR_PORT: u16 = 3478;

/// Plain UDP, by the name of its crate.
const REFERENCE: &str = "udp-test";

/// Where a node keeps what peers need to be believed by the registry.
pub const REGISTRY_TOKEN: &str = "/var/lib/vps-test/registry/token";
pub const REGISTRY_CA: &str = "/var/lib/vps-test/registry/cert.pem";
pub const REGISTRY_DIR: &str = "/var/lib/vps-test/registry";

/// A service that somebody asks by address.
pub type Placed = (NodeName, SocketAddr);

/// Who has which part, among the nodes that were reached. A coordinator is there
/// once for each address family.
#[derive(Debug, Clone)]
pub struct Parts {
    pub stack_coordinators: Vec<Placed>,
    pub reference_coordinators: Vec<Placed>,
    pub registry: Option<Placed>,
}

impl Parts {
    pub fn assign(settings: &Settings, is_reached: impl Fn(&NodeName) -> bool) -> Self {
        let node = |name: &NodeName| settings.fleet.node(name).filter(|_| is_reached(name));
        let at = |(name, port): &(NodeName, u16)| {
            Some((name.clone(), SocketAddr::new(node(name)?.address(), *port)))
        };
        let in_all_families = |node: &Node, port: u16| -> Vec<Placed> {
            let families = settings.families().iter();
            let addresses = families.filter_map(|family| node.address_in(*family));
            addresses
                .map(|address| (node.name.clone(), SocketAddr::new(address, port)))
                .collect()
        };
        let public = settings
            .fleet
            .nodes
            .iter()
            .filter(|n| n.is_public() && is_reached(&n.name));
        let bootstrap_first =
            |n: &&Node| !settings.bootstrap.iter().any(|(name, _)| *name == n.name);
        let mut reflectors: Vec<&Node> = public.collect();
        reflectors.sort_by_key(bootstrap_first);
        Self {
            stack_coordinators: settings
                .bootstrap
                .iter()
                .filter_map(|(name, port)| Some(in_all_families(node(name)?, *port)))
                .flatten()
                .collect(),
            reference_coordinators: reflectors
                .into_iter()
                .take(2)
                .flat_map(|n| in_all_families(n, REFERENCE_COORDINATOR_PORT))
                .collect(),
            registry: settings.registry.as_ref().and_then(at),
        }
    }

    pub fn registry_url(&self) -> Option<String> {
        self.registry
            .as_ref()
            .map(|(_, address)| format!("https://{address}"))
    }
}

/// Which tester of a node is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Stack,
    Reference,
}

/// Two names, even where plain UDP is what is tested.
pub fn tester_name(settings: &Settings, which: Which) -> String {
    match which {
        Which::Stack => settings.module_name.clone(),
        Which::Reference if settings.module_name == REFERENCE => format!("{REFERENCE}-reference"),
        Which::Reference => REFERENCE.to_owned(),
    }
}

/// A tester among those of its kind on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub which: Which,
    /// From 1.
    pub number: u16,
    /// How many there are.
    pub of: u16,
}

impl Place {
    /// One of the reference, and as many of the stack as a node has peers.
    pub fn all(peers: u16) -> impl Iterator<Item = Self> {
        let place = |which, number, of| Self { which, number, of };
        let stack = (1..=peers).map(move |number| place(Which::Stack, number, peers));
        std::iter::once(place(Which::Reference, 1, 1)).chain(stack)
    }

    /// `saorsa-test-quic-test.service`, or one of a template's:
    /// `saorsa-test-quic-test@2.service`.
    pub fn unit(self, settings: &Settings) -> String {
        let name = tester_name(settings, self.which);
        if self.of == 1 {
            settings.unit(&name)
        } else {
            settings.unit(&format!("{name}@{}", self.number))
        }
    }

    /// Where it listens for the engine, on its host.
    pub fn socket(self, settings: &Settings) -> String {
        let unit = self.unit(settings);
        format!("/run/vps-test/{}.sock", unit.trim_end_matches(".service"))
    }

    /// Its own share of the ports: one box may hold several peers, and two on one
    /// port would not both keep it outside.
    pub fn ports(self) -> PortRange {
        let all = match self.which {
            Which::Stack => STACK_PORTS,
            Which::Reference => REFERENCE_PORTS,
        };
        let share = (all.last - all.first + 1) / self.of;
        let first = all.first + (self.number - 1) * share;
        PortRange {
            first,
            last: first + share - 1,
        }
    }
}

/// The addresses that a node's testers bind, one a family.
pub fn bind_addresses(settings: &Settings, node: &Node) -> Vec<IpAddr> {
    let families = settings.families().iter();
    let outer = families.filter_map(|family| node.address_in(*family));
    outer
        .map(|address| match address {
            _ if node.is_public() => address,
            IpAddr::V4(_) => INNER_ADDRESS.into(),
            IpAddr::V6(v6) => inner_v6_address(v6).into(),
        })
        .collect()
}

/// Everything that a node is to run, with so many peers: none where it is not tested.
pub fn services(
    settings: &Settings,
    parts: &Parts,
    binaries: &Binaries,
    node: &Node,
    peers: u16,
) -> Vec<Service> {
    let mut services = Vec::new();
    if let Some((_, address)) = parts
        .registry
        .as_ref()
        .filter(|(name, _)| *name == node.name)
    {
        services.push(registry(settings, &binaries.registry, *address));
    }
    let kinds = [
        (Which::Stack, &binaries.tester, &parts.stack_coordinators),
        (
            Which::Reference,
            &binaries.reference,
            &parts.reference_coordinators,
        ),
    ];
    for (which, artifact, all) in kinds {
        let by_family = settings
            .families()
            .iter()
            .filter_map(|family| coordinator(settings, which, artifact, all, node, *family));
        services.extend(by_family);
    }
    if peers > 0 {
        let tester = |which, artifact, of| tester(settings, parts, which, artifact, node, of);
        services.push(tester(Which::Reference, &binaries.reference, 1));
        services.push(tester(Which::Stack, &binaries.tester, peers));
    }
    services
}

fn registry(settings: &Settings, artifact: &Artifact, address: SocketAddr) -> Service {
    let words = format!(
        "serve --listen {address} --cert {REGISTRY_CA} --key {REGISTRY_DIR}/key.pem --token-file {REGISTRY_TOKEN}"
    );
    Service {
        artifact: artifact.clone(),
        unit: unit(settings, "registry", "registry of vps-test", &words),
        pinned: false,
    }
}

/// The stack's coordinator is pinned: peers start from it while what they run
/// is being mended.
fn coordinator(
    settings: &Settings,
    which: Which,
    artifact: &Artifact,
    all: &[Placed],
    node: &Node,
    family: Family,
) -> Option<Service> {
    let all = || {
        all.iter()
            .filter(|(_, address)| Family::of(address.ip()) == family)
    };
    let (_, own) = all().find(|(name, _)| *name == node.name)?;
    let partners = all()
        .filter(|(name, _)| *name != node.name)
        .map(|(_, a)| format!(" --partner {a}"));
    let words = format!("coordinator --bind {own}{}", partners.collect::<String>());
    let suffix = match family {
        Family::Ipv4 => "",
        Family::Ipv6 => "-ipv6",
    };
    let name = format!("{}-coordinator{suffix}", tester_name(settings, which));
    Some(Service {
        artifact: artifact.clone(),
        unit: unit(settings, &name, "coordinator of vps-test", &words),
        pinned: which == Which::Stack,
    })
}

fn tester(
    settings: &Settings,
    parts: &Parts,
    which: Which,
    artifact: &Artifact,
    node: &Node,
    peers: u16,
) -> Service {
    let name = tester_name(settings, which);
    let unit_name = match peers {
        1 => name.clone(),
        _ => format!("{name}@"),
    };
    let mut words = format!(
        "agent --node {} --project {} --socket /run/vps-test/{}{}.sock",
        node.name,
        match which {
            Which::Stack => &settings.project,
            Which::Reference => &name,
        },
        settings.unit(&unit_name).trim_end_matches(".service"),
        if peers == 1 { "" } else { fleet::INSTANCE },
    );
    if let Some(url) = parts.registry_url() {
        words.push_str(&format!(
            " --registry {url} --registry-ca {REGISTRY_CA} --token-file {REGISTRY_TOKEN}"
        ));
    }
    let mut unit = unit(settings, &unit_name, "tester of vps-test", &words);
    unit.instances = (peers > 1).then_some(peers);
    if !node.is_public() {
        unit.requires = vec![NatBox::UNIT.into()];
        unit.netns = Some(NatBox::NETNS.into());
    }
    Service {
        artifact: artifact.clone(),
        unit,
        pinned: false,
    }
}

fn unit(settings: &Settings, name: &str, description: &str, words: &str) -> Unit {
    Unit {
        name: settings.unit(name),
        description: format!("{name}, {description}"),
        exec: words.split(' ').map(str::to_owned).collect(),
        requires: Vec::new(),
        netns: None,
        instances: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_of_a_node_share_no_port() {
        for of in [1, 2, 3, 30, model::inventory::MOST_PEERS] {
            let ranges: Vec<PortRange> = Place::all(of)
                .filter(|place| place.which == Which::Stack)
                .map(Place::ports)
                .collect();
            assert_eq!(ranges.len(), usize::from(of));
            assert!(ranges.iter().all(|r| r.last - r.first + 1 >= 100), "{of}");
            assert!(
                ranges.windows(2).all(|two| two[0].last < two[1].first),
                "{of}"
            );
            assert!(ranges[0].first >= STACK_PORTS.first);
            assert!(ranges[ranges.len() - 1].last <= STACK_PORTS.last);
        }
    }
}
