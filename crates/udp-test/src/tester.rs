//! `udp-test` as a tester.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agent::{Description, Tester, millis_since};
use model::nat::Observations;
use model::protocol::{
    Announce, Announced, Connected, Dial, Exchange, Exchanged, Expect, Failure, Finished, Perform,
    Performed, Prepare, Prepared, Probe, Reason, Rung,
};

use model::suite::THROUGHPUT;

use crate::attempt::Attempt;
use crate::coordinator;
use crate::load;
use crate::probe::Prober;

#[derive(Default)]
pub struct UdpTester {
    prober: Prober,
}

impl Tester for UdpTester {
    type Attempt = Attempt;

    fn describe(&self) -> Description {
        Description {
            tester: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            stack: "udp",
            stack_version: env!("CARGO_PKG_VERSION").into(),
            capabilities: vec!["probe".into(), format!("suite:{THROUGHPUT}")],
            rungs: vec![Rung::Direct, Rung::Punched],
            log_filter: "udp_test=info",
        }
    }

    async fn prepare(&self, call: Prepare) -> Result<(Attempt, Prepared), Failure> {
        let attempt = Attempt::prepare(&call).await?;
        let prepared = Prepared {
            peer: attempt.peer(),
            local: attempt.local(),
            observed: attempt.observed(),
        };
        Ok((attempt, prepared))
    }

    async fn expect(&self, attempt: &Attempt, call: Expect) -> Result<(), Failure> {
        without_relay(call.rung)?;
        attempt.expect(&call);
        Ok(())
    }

    async fn dial(&self, attempt: &Attempt, call: Dial) -> Result<Connected, Failure> {
        without_relay(call.rung)?;
        if call.target.addresses.is_empty() {
            return Err(Failure::new(
                Reason::NoAddress,
                "the target has no address to probe",
            ));
        }
        let started = Instant::now();
        let remote = attempt.dial(&call).await?;
        Ok(Connected {
            remote,
            claimed: attempt.claimed(),
            elapsed_ms: millis_since(started),
        })
    }

    async fn announce(&self, _: &Attempt, _: Announce) -> Result<Announced, Failure> {
        Err(no_relay())
    }

    async fn exchange(&self, attempt: &Attempt, call: Exchange) -> Result<Exchanged, Failure> {
        let limit = Duration::from_millis(call.timeout_ms);
        attempt.exchanger().run(limit).await
    }

    async fn finish(&self, attempt: &Attempt) -> Finished {
        attempt.finish()
    }

    async fn perform(
        &self,
        attempt: Option<&Attempt>,
        call: Perform,
    ) -> Result<Performed, Failure> {
        match attempt {
            Some(attempt) => load::perform(attempt, &call).await,
            None => Err(Failure::new(
                Reason::BadRequest,
                format!("`{}` needs an attempt that was prepared", call.step),
            )),
        }
    }

    async fn probe(&self, call: Probe) -> Result<Observations, Failure> {
        self.prober.measure(&call).await
    }

    async fn coordinate(&self, bind: SocketAddr, partners: Vec<SocketAddr>) -> Result<(), Failure> {
        coordinator::serve(bind, partners).await
    }
}

fn without_relay(rung: Rung) -> Result<(), Failure> {
    match rung {
        Rung::Direct | Rung::Punched => Ok(()),
        Rung::Relayed | Rung::Reverse => Err(no_relay()),
    }
}

fn no_relay() -> Failure {
    Failure::new(Reason::NoAddress, "plain UDP has no relay")
}
