//! Measuring what stands before a node, in a run.

use model::event::NatMeasured;
use model::family::Family;
use model::nat::{Behaviour, NatSpec, classify};

use crate::deployment::{self, Ports};
use crate::nat;
use crate::steps::StepError;
use crate::suite::context::Context;
use crate::tester::Tester;

impl Context<'_> {
    /// Of this node's NAT box, or its firewall in IPv6, by the plain tester behind it.
    ///
    /// # Errors
    /// Nothing could be measured. One that is not what its label says is no error.
    pub async fn certify(
        &self,
        tester: &Tester,
        label: NatSpec,
        family: Family,
    ) -> Result<NatMeasured, StepError> {
        let address = tester.address(family).ok_or_else(|| {
            StepError::Infrastructure(format!("{} has no {family} address", tester.host.name()))
        })?;
        let coordinators = &self.testers.reference_coordinators;
        let timeout = label
            .shortest_timeout()
            .filter(|s| *s <= nat::SHORT_TIMEOUT && family == Family::Ipv4);
        let agent = tester
            .agent()
            .await
            .map_err(|e| StepError::infrastructure(&e))?;
        let probe = nat::probe(
            address,
            Ports::of(self.settings).probe,
            &deployment::in_family(coordinators, family),
            nat::silences(timeout),
        );
        let seen = nat::measure(&agent, probe)
            .await
            .map_err(|e| StepError::infrastructure(&e))?;
        let certificate = classify(&seen);
        let (labelled, is_as_labelled) = match family {
            Family::Ipv4 => (label.effective(), certificate.check(label)),
            Family::Ipv6 => (Behaviour::FIREWALL, certificate.check_firewall(label.udp)),
        };
        Ok(NatMeasured {
            node: tester.host.name().clone(),
            family,
            labelled,
            mismatch: is_as_labelled.err(),
            certificate,
            stands_in: false,
        })
    }
}
