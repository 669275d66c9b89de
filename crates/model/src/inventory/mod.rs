//! A fleet: the hosts of one inventory file and the links between them.
//!
//! These are the validated types. Reading YAML into them, with errors that show
//! file, line and remedy, is `inventory::read`.

mod peer;
mod read;

pub use peer::PeerId;
pub use read::{read, read_nat};

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::family::Family;
use crate::nat::NatSpec;

/// A node's name: unique in its fleet, `[a-z0-9-]`, at most 63 characters.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct NodeName(String);

impl NodeName {
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Testers of one stack that a node may run. Each has its own share of the ports.
pub const MOST_PEERS: u16 = 100;

/// All hosts of one inventory file, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    pub name: String,
    pub nodes: Vec<Node>,
    /// Where each region lies; a node's `region` is a key of this map if it is to
    /// have a latency by geography.
    pub regions: BTreeMap<String, Place>,
    pub wan: Wan,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub name: NodeName,
    pub hostname: String,
    /// At least one; the first is the one that peers are told.
    pub addresses: Vec<IpAddr>,
    pub provider: String,
    pub region: String,
    pub role: Role,
    pub nat: Option<NodeNat>,
    /// Testers of the stack to run here; `None` leaves it to the config.
    pub peers: Option<u16>,
    /// What the inventory says runs here already, by name (`prometheus`, …).
    pub services: Vec<String>,
    /// Ports by service name; protocol is part of the entry.
    pub ports: BTreeMap<String, Port>,
    pub ssh: Ssh,
    pub note: Option<String>,
}

impl Node {
    /// Everything but the registry takes part in tests.
    pub fn is_tested(&self) -> bool {
        self.role != Role::Registry
    }

    /// By name, hostname or any address.
    pub fn is_called(&self, word: &str) -> bool {
        self.name.as_str() == word
            || self.hostname == word
            || self.addresses.iter().any(|a| a.to_string() == word)
    }

    /// Reachable from outside without any NAT in between.
    pub fn is_public(&self) -> bool {
        self.nat.is_none()
    }

    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }

    /// The first of a family.
    pub fn address_in(&self, family: Family) -> Option<IpAddr> {
        let mut all = self.addresses.iter().copied();
        all.find(|address| Family::of(*address) == family)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Registry and dashboard; takes no part in tests.
    Registry,
    /// Peers find each other through it; also tested.
    Bootstrap,
    /// Tested behind the NAT that `nat` says.
    Nat,
    /// Tested on its public address.
    Test,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Registry => "registry",
            Self::Bootstrap => "bootstrap",
            Self::Nat => "nat",
            Self::Test => "test",
        })
    }
}

/// The NAT that a node's tested services sit behind, and what the inventory says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeNat {
    pub spec: NatSpec,
    /// How the fleet's owner built it. Ours is always a NAT box (a network namespace).
    pub emulation: Emulation,
    /// Names of the owner's containers or service, for the listing.
    pub emulated_by: Vec<String>,
    /// `Easy`, `Medium`, `Hard`: the owner's word.
    pub difficulty: Option<String>,
    /// Percent of connections that the owner expects to succeed.
    pub expected_success: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Emulation {
    Docker,
    Netns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    pub transport: Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Udp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    pub user: String,
    pub port: u16,
}

/// A point on the globe, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Place {
    pub latitude: f64,
    pub longitude: f64,
}

/// How the twin's internet behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Wan {
    /// Seeds every random draw of the WAN.
    pub seed: u64,
    /// Added to every one-way delay by geography, in milliseconds.
    pub constant_ms: f64,
    /// Ordered pairs that differ from geography.
    pub links: Vec<LinkOverride>,
}

/// Settings for one ordered pair; `None` leaves what geography says.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkOverride {
    pub from: NodeName,
    pub to: NodeName,
    pub delay_ms: Option<f64>,
    pub jitter_ms: Option<f64>,
    /// Percent of packets lost, 0 to 100.
    pub loss_percent: Option<f64>,
    pub rate_mbit: Option<f64>,
}

/// One-way behaviour of an ordered pair of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Link {
    pub delay_ms: f64,
    /// Uniform in ±jitter around the delay; packets keep their order.
    pub jitter_ms: f64,
    pub loss_percent: f64,
    /// `None` is unlimited.
    pub rate_mbit: Option<f64>,
}

impl Fleet {
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    pub fn tested(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_tested())
    }

    /// The link from one node to another: geography, then the overrides in file order.
    pub fn link(&self, from: &Node, to: &Node) -> Link {
        let mut link = Link {
            delay_ms: self.geographic_delay_ms(from, to),
            ..Link::default()
        };
        for over in self
            .wan
            .links
            .iter()
            .filter(|l| l.from == from.name && l.to == to.name)
        {
            link.delay_ms = over.delay_ms.unwrap_or(link.delay_ms);
            link.jitter_ms = over.jitter_ms.unwrap_or(link.jitter_ms);
            link.loss_percent = over.loss_percent.unwrap_or(link.loss_percent);
            link.rate_mbit = over.rate_mbit.or(link.rate_mbit);
        }
        link
    }

    fn geographic_delay_ms(&self, from: &Node, to: &Node) -> f64 {
        let distance_km = match (self.regions.get(&from.region), self.regions.get(&to.region)) {
            (Some(a), Some(b)) => a.distance_km(*b),
            _ => 0.0,
        };
        distance_km / FIBRE_KM_PER_MS + self.wan.constant_ms
    }
}

/// Light in fibre: two thirds of 299.79 km per millisecond.
const FIBRE_KM_PER_MS: f64 = 299.792_458 * 2.0 / 3.0;

const EARTH_RADIUS_KM: f64 = 6371.0;

impl Place {
    /// Great-circle distance (haversine).
    pub fn distance_km(self, other: Self) -> f64 {
        let (lat1, lat2) = (self.latitude.to_radians(), other.latitude.to_radians());
        let dlat = lat2 - lat1;
        let dlon = (other.longitude - self.longitude).to_radians();
        let h = (dlat / 2.0).sin().powi(2) + lat1.cos() * lat2.cos() * (dlon / 2.0).sin().powi(2);
        2.0 * EARTH_RADIUS_KM * h.sqrt().asin()
    }
}
