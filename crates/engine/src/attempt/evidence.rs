//! What is known of an attempt besides its own record, for its explanation.

use std::net::SocketAddr;

use jiff::Timestamp;
use model::attempt::{Endpoints, Pair};
use model::explain::{Evidence, Side};
use model::flow::FlowCount;
use model::inventory::NodeName;
use model::protocol::Prepared;

use super::{Climb, End, Ends};
use crate::observer::{Account, Asked};

impl Ends<'_> {
    pub(super) async fn account(
        &self,
        pair: &Pair,
        endpoints: &Endpoints,
        payload_bytes: u64,
    ) -> Account {
        let mut touching: Vec<_> = endpoints
            .caller
            .iter()
            .chain(&endpoints.callee)
            .copied()
            .collect();
        // A side that nobody told its outer endpoint most likely kept its port.
        for end in [&self.caller, &self.callee] {
            let kept = end
                .outer
                .iter()
                .map(|ip| SocketAddr::new(*ip, end.bind.port()));
            touching.extend(kept);
        }
        touching.sort();
        touching.dedup();
        let asked = Asked {
            nodes: [pair.from.clone(), pair.to.clone()],
            touching,
        };
        let observers = &self.terms.observers;
        observers.account(&asked, endpoints, payload_bytes).await
    }

    pub(super) fn evidence<'a>(
        &'a self,
        pair: &Pair,
        climb: &Climb,
        silent: [Option<String>; 2],
        flows: &'a Option<Vec<FlowCount>>,
        began: Timestamp,
    ) -> Evidence<'a> {
        let [caller_silent, callee_silent] = silent;
        Evidence {
            caller: self.side(
                &pair.from,
                &self.caller,
                climb.caller.as_ref(),
                caller_silent,
            ),
            callee: self.side(&pair.to, &self.callee, climb.callee.as_ref(), callee_silent),
            coordinators: &self.terms.coordinators,
            flows: flows.as_deref(),
            began,
            payload_bytes: self.terms.payload_bytes,
        }
    }

    fn side(
        &self,
        node: &NodeName,
        end: &End,
        prepared: Option<&Prepared>,
        silent: Option<String>,
    ) -> Side {
        let told = prepared
            .iter()
            .flat_map(|p| p.observed.iter().map(|o| o.address));
        let nat = self.terms.nats.get(node);
        Side {
            node: node.clone(),
            public: end.public,
            bind: end.bind,
            outer: end.outer.clone(),
            told: told.collect(),
            mapping: nat.and_then(|nat| nat.mapping),
            filtering: nat.and_then(|nat| nat.filtering),
            prepared: prepared.is_some(),
            silent,
        }
    }
}
