//! `saorsa-node-test` as a tester.

use std::net::SocketAddr;
use std::time::Duration;

use agent::{Description, Sessions, Tester};
use model::protocol::{Failure, Perform, Performed};
use tokio::sync::Mutex;

use crate::steps;

/// The last step of every round.
const END: &str = "end";
const STOP: Duration = Duration::from_secs(8);

/// What a session has between its steps.
#[derive(Default)]
pub struct Session {
    pub held: Mutex<Option<steps::Held>>,
}

#[derive(Default)]
pub struct NodeTester {
    sessions: Sessions<Session>,
}

impl NodeTester {
    /// A node that does not stop in time is left to the runtime.
    pub async fn stop(&self, call: &Perform) {
        if let Some(session) = self.sessions.end(&call.session)
            && let Some(held) = session.held.lock().await.take()
        {
            let _ = tokio::time::timeout(STOP, held.node.stop()).await;
        }
    }
}

impl Tester for NodeTester {
    type Attempt = ();

    fn describe(&self) -> Description {
        Description {
            tester: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            stack: "saorsa-node",
            stack_version: env!("SAORSA_NODE_VERSION").into(),
            capabilities: ["health", "sync", "storage", "retrieval"]
                .map(|suite| format!("suite:{suite}"))
                .into(),
            rungs: Vec::new(),
            log_filter: "saorsa_node_test=info,saorsa_node=warn,saorsa_core=warn,saorsa_core::transport::saorsa_transport_adapter=debug,saorsa_transport=error",
        }
    }

    async fn perform(&self, _: Option<&()>, call: Perform) -> Result<Performed, Failure> {
        if call.step == END {
            self.stop(&call).await;
            steps::forget(&call);
            return Ok(Performed::default());
        }
        let session = self.sessions.of(&call.session);
        steps::step(&session, &call).await
    }

    /// A devnet's nodes join through its own public ones; one that stores nothing would
    /// only stand in their close groups.
    async fn coordinate(&self, _: SocketAddr, _: Vec<SocketAddr>) -> Result<(), Failure> {
        std::future::pending().await
    }
}
