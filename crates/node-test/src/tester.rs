//! `saorsa-node-test` as a tester.

use std::net::SocketAddr;
use std::time::Duration;

use agent::{Description, Sessions, Tester};
use model::protocol::{Failure, Perform, Performed, Reason};
use tokio::sync::Mutex;

use crate::node::{Node, core_config};
use crate::steps;

const END: &str = "end";

/// What a session has between its steps.
#[derive(Default)]
pub struct Session {
    pub held: Mutex<Option<steps::Held>>,
}

#[derive(Default)]
pub struct NodeTester {
    sessions: Sessions<Session>,
}

impl Tester for NodeTester {
    type Attempt = ();

    fn describe(&self) -> Description {
        Description {
            tester: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            stack: "ant-node",
            stack_version: env!("ANT_NODE_VERSION").into(),
            capabilities: ["health", "sync", "storage", "retrieval"]
                .map(|suite| format!("suite:{suite}"))
                .into(),
            rungs: Vec::new(),
            log_filter: "saorsa_node_test=info,saorsa_core=warn,saorsa_transport=error",
        }
    }

    async fn perform(&self, _: Option<&()>, call: Perform) -> Result<Performed, Failure> {
        if call.step == END {
            if let Some(session) = self.sessions.end(&call.session)
                && let Some(held) = session.held.lock().await.take()
            {
                // A node that does not stop in time is left to the runtime.
                let _ = tokio::time::timeout(Duration::from_secs(8), held.node.stop()).await;
            }
            steps::forget(&call);
            return Ok(Performed::default());
        }
        let session = self.sessions.of(&call.session);
        steps::step(&session, &call).await
    }

    /// A public peer of the same transport. The devnet does without it, as a node that
    /// stores nothing would stand in every close group; the first public nodes of a
    /// session are what the others join through.
    async fn coordinate(&self, bind: SocketAddr, partners: Vec<SocketAddr>) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(Reason::Stack, error.to_string());
        let config = core_config(bind, &partners).map_err(|error| failed(&error))?;
        let peer = saorsa_core::P2PNode::new(config).await;
        let peer = peer.map_err(|error| failed(&error))?;
        peer.start().await.map_err(|error| failed(&error))?;
        std::future::pending().await
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}", self.p2p.peer_id().short_hex())
    }
}
