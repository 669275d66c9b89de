//! `saorsa-core-test` as a tester.

use std::net::SocketAddr;
use std::time::Duration;

use agent::{Description, Sessions, Tester};
use model::protocol::{Failure, Perform, Performed, Reason};
use tokio::sync::Mutex;

use crate::peer::Peer;
use crate::{integration, property, unit};

/// The last step of every round.
const END: &str = "end";

/// What a session has between its steps.
#[derive(Default)]
pub struct Session {
    pub peer: Mutex<Option<Peer>>,
}

#[derive(Default)]
pub struct CoreTester {
    sessions: Sessions<Session>,
}

impl Tester for CoreTester {
    type Attempt = ();

    fn describe(&self) -> Description {
        Description {
            tester: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            stack: "saorsa-core",
            stack_version: env!("SAORSA_CORE_VERSION").into(),
            capabilities: ["unit", "integration", "property"]
                .map(|suite| format!("suite:{suite}"))
                .into(),
            rungs: Vec::new(),
            log_filter: "saorsa_core_test=info,saorsa_core=warn,saorsa_transport=error",
        }
    }

    async fn perform(&self, _: Option<&()>, call: Perform) -> Result<Performed, Failure> {
        if call.step == END {
            if let Some(session) = self.sessions.end(&call.session) {
                close(&session).await;
            }
            return Ok(Performed::default());
        }
        let session = self.sessions.of(&call.session);
        match &*call.suite {
            "unit" => unit::step(&session, &call).await,
            "integration" => integration::step(&session, &call).await,
            "property" => property::step(&call).await,
            _ => Err(unknown(&call)),
        }
    }

    /// A public peer that others join through, and nothing more.
    async fn coordinate(&self, bind: SocketAddr, partners: Vec<SocketAddr>) -> Result<(), Failure> {
        let peer = Peer::start(bind, &partners, None).await?;
        tracing::info!("{} is public on {bind}", peer.node.peer_id().short_hex());
        std::future::pending().await
    }
}

/// A peer that does not stop in time is left to the runtime.
async fn close(session: &Session) {
    if let Some(peer) = session.peer.lock().await.take() {
        let _ = tokio::time::timeout(Duration::from_secs(8), peer.stop()).await;
    }
}

pub fn unknown(call: &Perform) -> Failure {
    Failure::new(
        Reason::Unsupported,
        format!(
            "this tester has no step `{}` of `{}`",
            call.step, call.suite
        ),
    )
}

/// The address that the engine gave this tester for the session.
pub fn bind_of(call: &Perform) -> Result<SocketAddr, Failure> {
    call.bind.ok_or_else(|| {
        Failure::new(
            Reason::BadRequest,
            format!("step `{}` needs an address to bind", call.step),
        )
    })
}
