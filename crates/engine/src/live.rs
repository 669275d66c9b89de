//! What a run holds open: sessions, binaries, testers. The steps fill it; none of
//! it is journalled, and all of it can be had again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fleet::{Artifact, Host};
use model::inventory::{NodeName, PeerId};

use crate::lease::Leases;
use crate::publish::Publisher;
use crate::registry::Registry;
use crate::tester::Tester;

#[derive(Default)]
pub struct Live {
    pub hosts: BTreeMap<NodeName, Arc<Host>>,
    pub binaries: Option<Binaries>,
    pub testers: Option<Testers>,
    pub registry: Option<Arc<Registry>>,
    pub publisher: Option<Publisher>,
    pub leases: Option<Leases>,
}

impl Live {
    /// Sessions and testers; binaries are kept.
    pub fn clear_hosts(&mut self) {
        self.testers = None;
        self.hosts.clear();
    }

    pub fn clear(&mut self) {
        self.clear_hosts();
        self.binaries = None;
    }

    /// Whether every session still works.
    pub async fn is_reachable(&self) -> bool {
        let answers = self.hosts.values().map(|host| host.is_reachable());
        futures::future::join_all(answers)
            .await
            .into_iter()
            .all(|answers| answers)
    }
}

/// What BUILD_LOCAL makes.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The stack under test behind the agent protocol.
    pub tester: Artifact,
    /// Plain UDP: reference and prober.
    pub reference: Artifact,
    pub registry: Artifact,
    /// Programs that the tester starts, each with its notice.
    pub companions: Vec<Artifact>,
}

/// What DEPLOY leaves running.
#[derive(Default)]
pub struct Testers {
    /// Every peer.
    pub stack: HashMap<PeerId, Tester>,
    /// One a node: all its peers have the same NAT in front of them.
    pub reference: HashMap<PeerId, Tester>,
    pub stack_coordinators: Vec<std::net::SocketAddr>,
    /// Each serves this port and the next one.
    pub reference_coordinators: Vec<std::net::SocketAddr>,
}

impl Testers {
    /// A node's first peer, which speaks for its node where one is enough.
    pub fn first_of(&self, node: &NodeName) -> Option<&Tester> {
        self.stack.get(&PeerId::first(node.clone()))
    }
}
