//! `saorsa-quic-test` as a tester.

use std::net::SocketAddr;
use std::time::Duration;

use agent::{Description, Tester};
use model::protocol::{
    Announce, Announced, Connected, Dial, Exchange, Exchanged, Failure, Finished, Perform,
    Performed, Prepare, Prepared, Rung,
};
use model::suite::THROUGHPUT;

use crate::announce::announce;
use crate::attempt::Attempt;
use crate::coordinator;
use crate::dial::dial;
use crate::load;

/// Gossip stands on the same ant-quic, and meets at the same coordinators.
#[derive(Default)]
pub struct QuicTester {
    gossip: gossip_test::Suites,
}

impl Tester for QuicTester {
    type Attempt = Attempt;

    fn describe(&self) -> Description {
        Description {
            tester: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            stack: "ant-quic",
            stack_version: env!("ANT_QUIC_VERSION").into(),
            capabilities: capabilities(),
            rungs: vec![Rung::Direct, Rung::Punched, Rung::Relayed, Rung::Reverse],
            // The stack warns of every event that nobody listens to.
            log_filter: "saorsa_quic_test=info,gossip_test=info,ant_quic::silent_drop=error,\
                         saorsa_gossip_transport=error,saorsa_gossip_membership=error",
        }
    }

    async fn prepare(&self, call: Prepare) -> Result<(Attempt, Prepared), Failure> {
        Attempt::prepare(&call).await
    }

    async fn dial(&self, attempt: &Attempt, call: Dial) -> Result<Connected, Failure> {
        dial(attempt, &call).await
    }

    async fn announce(&self, attempt: &Attempt, call: Announce) -> Result<Announced, Failure> {
        announce(attempt, Duration::from_millis(call.timeout_ms)).await
    }

    async fn exchange(&self, attempt: &Attempt, call: Exchange) -> Result<Exchanged, Failure> {
        let limit = Duration::from_millis(call.timeout_ms);
        attempt.exchanger.run(limit).await
    }

    async fn finish(&self, attempt: &Attempt) -> Finished {
        attempt.finish().await
    }

    async fn perform(
        &self,
        attempt: Option<&Attempt>,
        call: Perform,
    ) -> Result<Performed, Failure> {
        match attempt {
            None => self.gossip.perform(call).await,
            Some(attempt) => load::perform(attempt, &call).await,
        }
    }

    async fn coordinate(&self, bind: SocketAddr, partners: Vec<SocketAddr>) -> Result<(), Failure> {
        coordinator::serve(bind, &partners).await
    }
}

fn capabilities() -> Vec<String> {
    let mut all = gossip_test::Suites::capabilities();
    all.push(format!("suite:{THROUGHPUT}"));
    all
}
