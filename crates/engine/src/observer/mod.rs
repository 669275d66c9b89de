//! Who counts packets outside the peers, if anybody does.

mod account;
mod hosts;

use std::net::SocketAddr;
use std::sync::Arc;

use fleet::Host;
use model::flow::FlowCount;
use model::inventory::NodeName;
use model::proof::WanReport;

pub use account::{Account, Observers};
pub use hosts::HostCounters;

/// The twin's WAN, or the hosts' own counters. The engine cannot tell which.
#[async_trait::async_trait]
pub trait Observer: Send + Sync {
    /// This host is deployed: whoever counts on it begins now.
    async fn watch(&self, _host: &Arc<Host>) -> Result<(), ObserverError> {
        Ok(())
    }

    /// Counters of the flows that were asked for.
    async fn flows(&self, asked: &Asked) -> Result<Vec<FlowCount>, ObserverError>;

    /// UDP that has left these nodes by now, in bytes with headers. Only
    /// differences mean something.
    async fn udp_sent(&self, nodes: &[NodeName]) -> Result<u64, ObserverError>;

    /// How well the network between the hosts kept to its settings; `None` where
    /// nobody emulates it.
    async fn wan(&self) -> Result<Option<WanReport>, ObserverError>;
}

/// Flows that start or end at one of these endpoints of these nodes.
#[derive(Debug, Clone)]
pub struct Asked {
    pub nodes: [NodeName; 2],
    pub touching: Vec<SocketAddr>,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read the packet counters: {0}")]
pub struct ObserverError(pub String);
