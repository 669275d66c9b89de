//! What a tester has to provide.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Instant;

use model::nat::Observations;
use model::protocol::{
    Announce, Announced, ClaimedPath, Connected, Dial, Exchange, Exchanged, Expect, Failure,
    Finished, Perform, Performed, Prepare, Prepared, Probe, Reason, Rung,
};

/// What a tester is, fixed for the life of the process.
#[derive(Debug, Clone)]
pub struct Description {
    /// The binary's name: `saorsa-quic-test`.
    pub tester: &'static str,
    /// The binary's own version.
    pub version: &'static str,
    /// The stack under test: `ant-quic`.
    pub stack: &'static str,
    /// The version of the stack that is linked in.
    pub stack_version: String,
    /// What it can do besides attempts: `probe`, `suite:NAME`.
    pub capabilities: Vec<String>,
    /// The rungs it knows, in the order an application would climb them.
    pub rungs: Vec<Rung>,
    /// What is worth logging, as a `tracing` filter; `RUST_LOG` overrides it.
    pub log_filter: &'static str,
}

/// One P2P stack behind the agent protocol. A tester that does without attempts, and
/// performs the steps of suites, has `Attempt = ()` and leaves their methods out.
///
/// Calls of different attempts, and of one attempt, run side by side. Each is
/// bounded by its own `timeout_ms`; a call that overruns it is dropped, so
/// futures must be safe to drop at any await. An [`Attempt`](Self::Attempt) that
/// is dropped must close what it opened: `finish` is the polite way, a crash of
/// a call the impolite one.
pub trait Tester: Send + Sync + 'static {
    /// Everything that belongs to one attempt: endpoint, identity, tasks.
    type Attempt: Send + Sync + 'static;

    fn describe(&self) -> Description;

    /// A fresh endpoint on `call.bind` with a fresh identity.
    ///
    /// # Errors
    /// [`Reason::Infrastructure`] where the address cannot be bound.
    fn prepare(
        &self,
        call: Prepare,
    ) -> impl Future<Output = Result<(Self::Attempt, Prepared), Failure>> + Send {
        let _ = call;
        async { Err(unsupported("prepare")) }
    }

    /// The target is about to dial; returns at once, work goes on behind it.
    fn expect(
        &self,
        attempt: &Self::Attempt,
        call: Expect,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (attempt, call);
        async { Ok(()) }
    }

    /// Reach the target by the way that `call.rung` names and no other.
    fn dial(
        &self,
        attempt: &Self::Attempt,
        call: Dial,
    ) -> impl Future<Output = Result<Connected, Failure>> + Send {
        let _ = (attempt, call);
        async { Err(unsupported("dial")) }
    }

    /// Arrange a relay and say where it can be dialled.
    fn announce(
        &self,
        attempt: &Self::Attempt,
        call: Announce,
    ) -> impl Future<Output = Result<Announced, Failure>> + Send {
        let _ = (attempt, call);
        async { Err(unsupported("announce")) }
    }

    /// Send the prepared payload and receive the other side's, over the
    /// connection that `dial` made. Called on the side that dialled; the other
    /// side answers by itself.
    fn exchange(
        &self,
        attempt: &Self::Attempt,
        call: Exchange,
    ) -> impl Future<Output = Result<Exchanged, Failure>> + Send {
        let _ = (attempt, call);
        async { Err(unsupported("exchange")) }
    }

    /// What this side saw. Closes the endpoint: no socket, no task remains.
    fn finish(&self, attempt: &Self::Attempt) -> impl Future<Output = Finished> + Send {
        let _ = attempt;
        async {
            Finished {
                local: SocketAddr::from(([0, 0, 0, 0], 0)),
                observed: Vec::new(),
                remote: None,
                claimed: ClaimedPath::Unknown,
                sent: None,
                received: None,
            }
        }
    }

    /// Measure the NAT in front of an address.
    fn probe(&self, call: Probe) -> impl Future<Output = Result<Observations, Failure>> + Send {
        let _ = call;
        async { Err(unsupported("probe")) }
    }

    /// Do one step of a suite that [`Description::capabilities`] lists as
    /// `suite:NAME`. `attempt` is the prepared one that `call.session` names, if
    /// it names one; else the session is the tester's own, until the step `end`.
    fn perform(
        &self,
        attempt: Option<&Self::Attempt>,
        call: Perform,
    ) -> impl Future<Output = Result<Performed, Failure>> + Send {
        let _ = (attempt, call);
        async { Err(unsupported("perform")) }
    }

    /// Serve as the public coordinator until dropped.
    ///
    /// # Errors
    /// [`Reason::Infrastructure`] where the address cannot be bound.
    fn coordinate(
        &self,
        bind: SocketAddr,
        partners: Vec<SocketAddr>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (bind, partners);
        async { Err(unsupported("coordinator")) }
    }
}

fn unsupported(method: &str) -> Failure {
    Failure::new(
        Reason::Unsupported,
        format!("this tester has no `{method}`"),
    )
}

/// Milliseconds since `start`, with fractions.
pub fn millis_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
