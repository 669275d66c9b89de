//! `communitas-test` as a tester: steps of suites, and no attempts.

use std::net::SocketAddr;

use agent::{Description, Tester};
use model::protocol::{Failure, Perform, Performed, Reason};

use crate::program;
use crate::suite::{bad_requests, daemon, files, mcp, messages};

const SUITES: &[&str] = &["mcp", "bad-requests", "daemon", "files", "messages"];

#[derive(Default)]
pub struct CommunitasTester {
    talks: messages::Talks,
}

impl Tester for CommunitasTester {
    type Attempt = ();

    fn describe(&self) -> Description {
        Description {
            tester: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            stack: program::NAME,
            stack_version: program::version().unwrap_or_else(|| "unknown".into()),
            capabilities: SUITES.iter().map(|name| format!("suite:{name}")).collect(),
            rungs: Vec::new(),
            log_filter: "communitas_test=info",
        }
    }

    async fn perform(&self, _: Option<&()>, call: Perform) -> Result<Performed, Failure> {
        match (call.suite.as_str(), call.step.as_str()) {
            ("messages", _) => self.talks.perform(call).await,
            (_, "end") => Ok(Performed::default()),
            ("mcp", "handshake") => mcp::handshake(&call).await,
            ("mcp", "tools") => mcp::tools().await,
            ("bad-requests", "send") => bad_requests::send().await,
            ("daemon", "lives") => daemon::lives(&call).await,
            ("files", "round-trip") => files::round_trip(&call).await,
            (suite, step) => Err(Failure::new(
                Reason::Unsupported,
                format!("this tester has no step `{step}` of `{suite}`"),
            )),
        }
    }

    /// Peers of this stack need no coordinator: they name each other. Nothing listens.
    async fn coordinate(&self, _: SocketAddr, _: Vec<SocketAddr>) -> Result<(), Failure> {
        std::future::pending().await
    }
}
