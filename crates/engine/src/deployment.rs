//! What runs where: the services of each node, as data.

use std::net::{IpAddr, SocketAddr};

use fleet::{Artifact, INNER_ADDRESS, NatBox, Service, Unit};
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

/// Who has which part, among the nodes that were reached.
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
        Self {
            stack_coordinators: settings.bootstrap.iter().filter_map(at).collect(),
            reference_coordinators: reflectors(
                &settings.fleet,
                reflector_port(settings),
                |name| settings.bootstrap.iter().any(|(known, _)| known == name),
                is_reached,
            ),
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

/// Two public nodes from which NATs are measured; those that peers meet through
/// have their coordinators' ports open already.
pub fn reflectors(
    fleet: &Fleet,
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
    let at = |node: &Node| SocketAddr::new(node.address(), port);
    all.into_iter()
        .take(2)
        .map(|node| (node.name.clone(), at(node)))
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

/// Where a tester listens for the engine, on its host.
pub fn socket(settings: &Settings, which: Which) -> String {
    let unit = settings.unit(&tester_name(settings, which));
    format!("/run/vps-test/{}.sock", unit.trim_end_matches(".service"))
}

/// The address that a node's testers bind.
pub fn bind_address(node: &Node) -> IpAddr {
    if node.is_public() {
        node.address()
    } else {
        INNER_ADDRESS.into()
    }
}

/// Everything that a node is to run.
pub fn services(
    settings: &Settings,
    parts: &Parts,
    binaries: &Binaries,
    node: &Node,
    tested: bool,
) -> Vec<Service> {
    let mut services = Vec::new();
    if let Some((_, address)) = parts
        .registry
        .as_ref()
        .filter(|(name, _)| *name == node.name)
    {
        services.push(registry(settings, &binaries.registry, *address));
    }
    services.extend(coordinator(
        settings,
        Which::Stack,
        &binaries.tester,
        &parts.stack_coordinators,
        node,
    ));
    services.extend(coordinator(
        settings,
        Which::Reference,
        &binaries.reference,
        &parts.reference_coordinators,
        node,
    ));
    if tested {
        services.push(tester(
            settings,
            parts,
            Which::Reference,
            &binaries.reference,
            node,
        ));
        services.push(tester(
            settings,
            parts,
            Which::Stack,
            &binaries.tester,
            node,
        ));
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
) -> Option<Service> {
    let words = coordinator_words(all, &node.name)?;
    let name = format!("{}-coordinator", tester_name(settings, which));
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
) -> Service {
    let name = tester_name(settings, which);
    let mut words = format!(
        "agent --node {} --project {} --socket {}",
        node.name,
        match which {
            Which::Stack => &settings.project,
            Which::Reference => build::REFERENCE.1,
        },
        socket(settings, which)
    );
    if let Some(url) = parts.registry_url() {
        words.push_str(&format!(
            " --registry {url} --registry-ca {REGISTRY_CA} --token-file {REGISTRY_TOKEN}"
        ));
    }
    let mut unit = unit(settings, &name, "tester of vps-test", &words);
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
    }
}
