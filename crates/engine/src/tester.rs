//! A running tester: how to talk to it, and which ports are its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fleet::{Forwarded, Host};
use model::family::Family;
use model::inventory::Node;
use model::protocol::{Hello, PortRange};
use tokio::sync::Mutex;

use crate::agent::{Agent, AgentError};
use crate::attempt::End;

/// A service that was started a moment ago may not listen yet.
const START: Duration = Duration::from_secs(10);

pub struct Tester {
    pub host: Arc<Host>,
    /// That runs it there.
    pub unit: String,
    socket: Forwarded,
    /// One a family, the first the one that suites of steps run over.
    addresses: Vec<IpAddr>,
    public: bool,
    ports: FreshPorts,
    hello: Hello,
    /// Replaced when the tester was restarted.
    agent: Mutex<Arc<Agent>>,
}

impl Tester {
    /// Waits for a tester that was just started.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn connect(
        host: Arc<Host>,
        unit: String,
        socket: Forwarded,
        addresses: Vec<IpAddr>,
        ports: PortRange,
    ) -> Result<Self, AgentError> {
        let agent = first_answer(&host, &socket).await?;
        let public = host.node.is_public();
        let ports = FreshPorts::new(ports);
        Ok(Self {
            host,
            unit,
            socket,
            addresses,
            public,
            ports,
            hello: agent.hello.clone(),
            agent: Mutex::new(agent.into()),
        })
    }

    /// A fresh end of an attempt. A tester that was restarted is found again.
    ///
    /// # Errors
    /// It does not answer, or has no address of this family.
    pub async fn end(&self, family: Family) -> Result<End, String> {
        let address = self
            .address(family)
            .ok_or_else(|| format!("{} has no {family} address", self.host.name()))?;
        Ok(End {
            agent: self.agent().await.map_err(|e| e.to_string())?,
            bind: SocketAddr::new(address, self.ports.next()),
            public: self.public,
            outer: outer(&self.host.node, family),
        })
    }

    /// An address that nothing else of this run is bound to; `None` where the node
    /// has no address of a family that is tried.
    pub fn fresh_bind(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(*self.addresses.first()?, self.ports.next()))
    }

    /// What it said of itself when it was deployed.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    pub async fn agent(&self) -> Result<Arc<Agent>, AgentError> {
        let mut agent = self.agent.lock().await;
        if agent.has_ended() {
            *agent = Agent::connect(self.host.name(), &self.socket.path)
                .await?
                .into();
        }
        Ok(Arc::clone(&agent))
    }

    /// Waits until it answers again, after its process was ended.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn restarted(&self) -> Result<(), AgentError> {
        let mut agent = self.agent.lock().await;
        *agent = first_answer(&self.host, &self.socket).await?.into();
        Ok(())
    }

    pub fn address(&self, family: Family) -> Option<IpAddr> {
        let mut all = self.addresses.iter().copied();
        all.find(|address| Family::of(*address) == family)
    }
}

/// What others see of a node in a family.
fn outer(node: &Node, family: Family) -> Vec<IpAddr> {
    let all = fleet::outer_addresses(node).into_iter();
    all.filter(|address| Family::of(*address) == family)
        .collect()
}

/// sshd takes our connection before it tries the tester's socket, and closes it
/// where nobody listens there: both are asked again.
async fn first_answer(host: &Host, socket: &Forwarded) -> Result<Agent, AgentError> {
    let began = Instant::now();
    loop {
        match Agent::connect(host.name(), &socket.path).await {
            Err(AgentError::Connect { .. } | AgentError::Gone { .. })
                if began.elapsed() < START =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
}

/// Hands out every port of a range before any of them again. It begins
/// somewhere, so that two runs within a NAT's memory hardly meet.
struct FreshPorts {
    range: PortRange,
    drawn: AtomicU32,
}

impl FreshPorts {
    fn new(range: PortRange) -> Self {
        Self {
            range,
            drawn: AtomicU32::new(rand::random::<u32>() >> 1),
        }
    }

    fn next(&self) -> u16 {
        let size = u32::from(self.range.last - self.range.first) + 1;
        let offset = self.drawn.fetch_add(1, Ordering::Relaxed) % size;
        self.range.first + u16::try_from(offset).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_drawn_once_each() {
        let ports = FreshPorts::new(PortRange {
            first: 22000,
            last: 22009,
        });
        let drawn: std::collections::BTreeSet<u16> = (0..10).map(|_| ports.next()).collect();
        assert_eq!(drawn, (22000..=22009).collect());
    }
}
