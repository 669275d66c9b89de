//! `saorsa-gossip-test` as a tester.

use std::net::SocketAddr;

use agent::{Description, Tester};
use model::protocol::{Failure, Perform, Performed};

use crate::coordinator;
use crate::suites::Suites;

#[derive(Default)]
pub struct GossipTester {
    suites: Suites,
}

impl Tester for GossipTester {
    type Attempt = ();

    fn describe(&self) -> Description {
        Description {
            tester: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            stack: "saorsa-gossip",
            stack_version: env!("SAORSA_GOSSIP_VERSION").into(),
            capabilities: Suites::capabilities(),
            rungs: Vec::new(),
            // The stack warns of every send that fails, and of every event that
            // nobody listens to.
            log_filter: "gossip_test=info,ant_quic=error,saorsa_gossip_transport=error",
        }
    }

    async fn perform(&self, _: Option<&()>, call: Perform) -> Result<Performed, Failure> {
        self.suites.perform(call).await
    }

    async fn coordinate(&self, bind: SocketAddr, partners: Vec<SocketAddr>) -> Result<(), Failure> {
        coordinator::serve(bind, &partners).await
    }
}
