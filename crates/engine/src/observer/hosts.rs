//! The hosts count their own packets, in an nftables table ([`Host::start_counting`]).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fleet::{Counted, Host};
use model::flow::{FlowCount, FlowKey, Tally};
use model::inventory::NodeName;
use model::proof::WanReport;

use super::{Asked, Observer, ObserverError};

#[derive(Default)]
pub struct HostCounters(Mutex<HashMap<NodeName, Watched>>);

/// A host that counts, or why it does not.
#[derive(Clone)]
enum Watched {
    Counts(Arc<Host>, Vec<IpAddr>),
    Cannot(String),
}

impl HostCounters {
    fn watched(&self) -> MutexGuard<'_, HashMap<NodeName, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counting(&self, node: &NodeName) -> Result<(Arc<Host>, Vec<IpAddr>), ObserverError> {
        match self.watched().get(node) {
            Some(Watched::Counts(host, addresses)) => Ok((Arc::clone(host), addresses.clone())),
            Some(Watched::Cannot(why)) => Err(ObserverError(why.clone())),
            None => Err(ObserverError(format!("nobody counts packets at {node}"))),
        }
    }
}

#[async_trait::async_trait]
impl Observer for HostCounters {
    async fn watch(&self, host: &Arc<Host>) -> Result<(), ObserverError> {
        let mut started = host.start_counting().await.map_err(|e| e.to_string());
        if let Ok(addresses) = &mut started {
            addresses.extend(fleet::outer_addresses(&host.node));
        }
        let watched = match &started {
            Ok(addresses) => Watched::Counts(Arc::clone(host), addresses.clone()),
            Err(why) => Watched::Cannot(why.clone()),
        };
        self.watched().insert(host.name().clone(), watched);
        started.map(drop).map_err(ObserverError)
    }

    /// One call a host, side by side.
    async fn flows(&self, asked: &Asked) -> Result<Vec<FlowCount>, ObserverError> {
        let [one, other] = &asked.nodes;
        let (one, other) = (self.counting(one)?, self.counting(other)?);
        let (here, there) = tokio::join!(
            one.0.counted(&asked.touching),
            other.0.counted(&asked.touching)
        );
        let accounts = [(here, one.1), (there, other.1)];
        let mut known = Vec::new();
        for (counted, addresses) in accounts {
            known.push((
                counted.map_err(|e| ObserverError(e.to_string()))?,
                addresses,
            ));
        }
        Ok(join(&known))
    }

    async fn udp_sent(&self, nodes: &[NodeName]) -> Result<u64, ObserverError> {
        let hosts: Result<Vec<_>, _> = nodes.iter().map(|node| self.counting(node)).collect();
        let hosts = hosts?;
        let asked = hosts.iter().map(|(host, _)| host.udp_sent());
        let counted = futures::future::try_join_all(asked).await;
        Ok(counted
            .map_err(|e| ObserverError(e.to_string()))?
            .iter()
            .sum())
    }

    async fn wan(&self) -> Result<Option<WanReport>, ObserverError> {
        Ok(None)
    }
}

/// A flow as both of its ends counted it. Where an end is at neither host, as a
/// relay's is, nobody counted there; where it is, and counted nothing, nothing came.
fn join(hosts: &[(Counted, Vec<IpAddr>)]) -> Vec<FlowCount> {
    let is_asked = |ip: IpAddr| hosts.iter().any(|(_, addresses)| addresses.contains(&ip));
    let mut flows: BTreeMap<FlowKey, FlowCount> = BTreeMap::new();
    let begin = |flow: FlowKey| FlowCount {
        flow,
        left: is_asked(flow.source.ip()).then(Tally::default),
        arrived: is_asked(flow.destination.ip()).then(Tally::default),
    };
    for (counted, addresses) in hosts {
        for (flow, tally) in &counted.left {
            if addresses.contains(&flow.source.ip()) {
                flows.entry(*flow).or_insert_with(|| begin(*flow)).left = Some(*tally);
            }
        }
        for (flow, tally) in &counted.arrived {
            if addresses.contains(&flow.destination.ip()) {
                flows.entry(*flow).or_insert_with(|| begin(*flow)).arrived = Some(*tally);
            }
        }
    }
    flows.into_values().collect()
}

#[cfg(test)]
mod tests {
    use model::inventory::Transport;

    use super::*;

    fn flow(source: &str, destination: &str) -> FlowKey {
        FlowKey {
            transport: Transport::Udp,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    fn bytes(bytes: u64) -> Tally {
        Tally {
            packets: 1,
            bytes,
            ..Tally::default()
        }
    }

    #[test]
    fn each_end_counts_its_own() {
        let (direct, leg) = (
            flow("1.0.0.1:10", "2.0.0.1:20"),
            flow("1.0.0.1:10", "9.0.0.9:9"),
        );
        let lost = flow("2.0.0.1:20", "1.0.0.1:10");
        let caller = Counted {
            left: vec![(direct, bytes(100)), (leg, bytes(7))],
            arrived: vec![],
        };
        let callee = Counted {
            left: vec![(lost, bytes(50))],
            arrived: vec![(direct, bytes(90))],
        };
        let hosts = [
            (caller, vec!["1.0.0.1".parse().unwrap()]),
            (callee, vec!["2.0.0.1".parse().unwrap()]),
        ];
        let joined = join(&hosts);
        let of = |key: FlowKey| joined.iter().find(|f| f.flow == key).unwrap();
        assert_eq!(of(direct).bytes(), 90, "what arrived, not what left");
        assert_eq!(of(lost).bytes(), 0, "the other end would have seen it");
        assert_eq!(
            (of(leg).arrived, of(leg).bytes()),
            (None, 7),
            "nobody asked the relay"
        );
    }
}
