//! Who counts packets outside the peers, if anybody does.

use std::net::SocketAddr;

use model::flow::FlowCount;
use model::proof::WanReport;

/// The twin's WAN, or the hosts' own counters. The engine cannot tell which.
#[async_trait::async_trait]
pub trait Observer: Send + Sync {
    /// Cumulative counters of every flow that starts or ends at one of these endpoints.
    async fn flows(&self, touching: &[SocketAddr]) -> Result<Vec<FlowCount>, ObserverError>;

    /// How well the network between the hosts kept to its settings; `None` where
    /// nobody emulates it.
    async fn wan(&self) -> Result<Option<WanReport>, ObserverError>;
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read the packet counters: {0}")]
pub struct ObserverError(pub String);
