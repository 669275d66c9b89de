//! What runs where: the services of each node, as data.

use std::net::{IpAddr, SocketAddr};

use fleet::{Artifact, INNER_ADDRESS, NatBox, Service, Unit, inner_v6_address};
use model::family::Family;
use model::inventory::{Fleet, Node, NodeName};
use model::protocol::PortRange;

use crate::live::Binaries;
use crate::settings::Settings;
use crate::steps::build;

/// Below the ports that Linux hands out by itself.
pub const ALL_PORTS: PortRange = PortRange {
    first: 12000,
    last: 31999,
};
pub const PROBE_PORTS: PortRange = PortRange {
    first: 12000,
    last: 13999,
};
const REFERENCE_PORTS: PortRange = PortRange {
    first: 14000,
    last: 21999,
};
const STACK_PORTS: PortRange = PortRange {
    first: 22000,
    last: 31999,
};

/// The ports of one project. Disjoint, so that two peers behind one box never want
/// the same outer port, not even those of two projects that run side by side.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub probe: PortRange,
    pub reference: PortRange,
    pub stack: PortRange,
}

impl Ports {
    pub fn of(settings: &Settings) -> Self {
        let place = settings.config.place_of(&settings.module_name);
        Self {
            probe: part(PROBE_PORTS, place),
            reference: part(REFERENCE_PORTS, place),
            stack: part(STACK_PORTS, place),
        }
    }
}

/// One of so many equal parts.
fn part(range: PortRange, (place, places): (usize, usize)) -> PortRange {
    let all = usize::from(range.last - range.first) + 1;
    let each = (all / places).max(1);
    let first = range.first + u16::try_from(each * place).unwrap_or(0);
    PortRange {
        first,
        last: first + u16::try_from(each - 1).unwrap_or(0),
    }
}

/// Of the reference's coordinators, each of which takes the next port as well; other
/// projects' are some ports on.
const REFLECTOR_PORT: u16 = 3478;
const NEXT_PROJECT: usize = 10;
/// Of those that `nat verify` has, beside whatever runs.
pub const PROBER_REFLECTOR_PORT: u16 = 3476;

/// Where a node keeps what peers need to be believed by the registry.
pub const REGISTRY_TOKEN: &str = "/var/lib/vps-test/registry/token";
pub const REGISTRY_CA: &str = "/var/lib/vps-test/registry/cert.pem";
pub const REGISTRY_DIR: &str = "/var/lib/vps-test/registry";
/// Of whom the registry lets in; on the registry's node alone.
pub const REGISTRY_TOKENS: &str = "/var/lib/vps-test/registry/tokens.json";

/// A service that somebody asks by address.
pub type Placed = (NodeName, SocketAddr);

/// Who has which part, among the nodes that were reached. A coordinator is there once
/// for each address family that is tried.
#[derive(Debug, Clone)]
pub struct Parts {
    pub stack_coordinators: Vec<Placed>,
    pub reference_coordinators: Vec<Placed>,
    pub registry: Option<Placed>,
}

impl Parts {
    pub fn assign(settings: &Settings, is_reached: impl Fn(&NodeName) -> bool + Copy) -> Self {
        let node = |name: &NodeName| settings.fleet.node(name).filter(|_| is_reached(name));
        let at = |(name, port): &(NodeName, u16)| {
            Some((name.clone(), SocketAddr::new(node(name)?.address(), *port)))
        };
        let families = settings.families().iter();
        let of_stack = families.clone().flat_map(|family| {
            settings.bootstrap.iter().filter_map(move |(name, port)| {
                let address = node(name)?.address_in(*family)?;
                Some((name.clone(), SocketAddr::new(address, *port)))
            })
        });
        let of_reference = families.flat_map(|family| {
            reflectors(
                &settings.fleet,
                *family,
                reflector_port(settings),
                |name| settings.bootstrap.iter().any(|(known, _)| known == name),
                is_reached,
            )
        });
        Self {
            stack_coordinators: of_stack.collect(),
            reference_coordinators: of_reference.collect(),
            registry: settings.registry.as_ref().and_then(at),
        }
    }

    pub fn registry_url(&self) -> Option<String> {
        self.registry
            .as_ref()
            .map(|(_, address)| format!("https://{address}"))
    }
}

fn reflector_port(settings: &Settings) -> u16 {
    let (place, _) = settings.config.place_of(&settings.module_name);
    REFLECTOR_PORT + u16::try_from(NEXT_PROJECT * place).unwrap_or(0)
}

/// Two public nodes from which what stands before others is measured in this family; those that peers meet through
/// have their coordinators' ports open already.
pub fn reflectors(
    fleet: &Fleet,
    family: Family,
    port: u16,
    is_bootstrap: impl Fn(&NodeName) -> bool,
    is_reached: impl Fn(&NodeName) -> bool,
) -> Vec<Placed> {
    let public = fleet
        .nodes
        .iter()
        .filter(|n| n.is_public() && is_reached(&n.name));
    let mut all: Vec<&Node> = public.collect();
    all.sort_by_key(|node| !is_bootstrap(&node.name));
    let at = |node: &Node| Some(SocketAddr::new(node.address_in(family)?, port));
    all.into_iter()
        .filter_map(|node| Some((node.name.clone(), at(node)?)))
        .take(2)
        .collect()
}

/// Which tester of a node is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Stack,
    Reference,
}

pub fn tester_name(settings: &Settings, which: Which) -> String {
    match which {
        Which::Stack => settings.module_name.clone(),
        Which::Reference => format!("{}-reference", settings.module_name),
    }
}

/// A tester among those of its kind on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    pub which: Which,
    /// From 1.
    pub number: u16,
    /// How many there are.
    pub of: u16,
}

impl Instance {
    /// One of the reference, and as many of the stack as a node has peers.
    pub fn all(peers: u16) -> impl Iterator<Item = Self> {
        let reference = Self {
            which: Which::Reference,
            number: 1,
            of: 1,
        };
        std::iter::once(reference).chain(Self::of_stack(peers))
    }

    pub fn of_stack(peers: u16) -> impl Iterator<Item = Self> {
        (1..=peers).map(move |number| Self {
            which: Which::Stack,
            number,
            of: peers,
        })
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
        socket_of(&self.unit(settings))
    }

    /// Its own share of the project's ports: two peers behind one box on one port
    /// could not both keep it outside.
    pub fn ports(self, of_project: Ports) -> PortRange {
        let all = match self.which {
            Which::Stack => of_project.stack,
            Which::Reference => of_project.reference,
        };
        part(all, (usize::from(self.number - 1), usize::from(self.of)))
    }
}

fn socket_of(unit: &str) -> String {
    format!("/run/vps-test/{}.sock", unit.trim_end_matches(".service"))
}

/// Of these addresses, the ones of one family.
pub fn in_family(addresses: &[SocketAddr], family: Family) -> Vec<SocketAddr> {
    let all = addresses.iter().copied();
    all.filter(|address| Family::of(address.ip()) == family)
        .collect()
}

/// The addresses that a node's testers bind, one for each family that is tried and
/// that the node has.
pub fn bind_addresses(settings: &Settings, node: &Node) -> Vec<IpAddr> {
    let families = settings.families().iter();
    families
        .filter_map(|family| Some(bind_address(node, node.address_in(*family)?)))
        .collect()
}

fn bind_address(node: &Node, outer: IpAddr) -> IpAddr {
    match outer {
        _ if node.is_public() => outer,
        IpAddr::V4(_) => INNER_ADDRESS.into(),
        IpAddr::V6(v6) => inner_v6_address(v6).into(),
    }
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
        let families = settings.families().iter();
        services.extend(
            families
                .filter_map(|family| coordinator(settings, which, artifact, all, node, *family)),
        );
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
        "serve --listen {address} --cert {REGISTRY_CA} --key {REGISTRY_DIR}/key.pem \
         --tokens {REGISTRY_TOKENS} --data {REGISTRY_DIR}"
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
    let is_of_family = |(_, address): &&Placed| Family::of(address.ip()) == family;
    let all: Vec<Placed> = all.iter().filter(is_of_family).cloned().collect();
    let words = coordinator_words(&all, &node.name)?;
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

/// `coordinator --bind … --partner …`; `None` where the node keeps none.
pub fn coordinator_words(all: &[Placed], node: &NodeName) -> Option<String> {
    let (_, own) = all.iter().find(|(name, _)| name == node)?;
    let partners = all
        .iter()
        .filter(|(name, _)| name != node)
        .map(|(_, a)| format!(" --partner {a}"));
    Some(format!(
        "coordinator --bind {own}{}",
        partners.collect::<String>()
    ))
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
    // Several are instances of one template, whose socket has the number in its name.
    let (unit_name, socket) = match peers {
        1 => (name.clone(), socket_of(&settings.unit(&name))),
        _ => {
            let instance = format!("{name}@{}", fleet::INSTANCE);
            (format!("{name}@"), socket_of(&settings.unit(&instance)))
        }
    };
    let mut words = format!(
        "agent --node {} --project {} --socket {socket}",
        node.name,
        match which {
            Which::Stack => &settings.project,
            Which::Reference => build::REFERENCE.1,
        },
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
            for project in [(0, 1), (2, 3)] {
                let own = Ports {
                    probe: part(PROBE_PORTS, project),
                    reference: part(REFERENCE_PORTS, project),
                    stack: part(STACK_PORTS, project),
                };
                let ranges: Vec<PortRange> = Instance::of_stack(of)
                    .map(|instance| instance.ports(own))
                    .collect();
                assert_eq!(ranges.len(), usize::from(of));
                assert!(ranges.iter().all(|r| r.last - r.first >= 32), "{of}");
                let apart = |two: &[PortRange]| two[0].last < two[1].first;
                assert!(ranges.windows(2).all(apart), "{of}");
                assert!(ranges[0].first >= own.stack.first);
                assert!(ranges[ranges.len() - 1].last <= own.stack.last);
            }
        }
    }

    #[test]
    fn a_node_has_the_reference_once_and_the_stack_as_often_as_peers() {
        let all: Vec<Instance> = Instance::all(3).collect();
        let of = |which| all.iter().filter(|i| i.which == which).count();
        assert_eq!((of(Which::Reference), of(Which::Stack)), (1, 3));
    }
}
