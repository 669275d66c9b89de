//! A running tester: how to talk to it, and which ports are its own.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fleet::{Forwarded, Host};
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
    address: IpAddr,
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
        address: IpAddr,
        ports: OwnPorts,
    ) -> Result<Self, AgentError> {
        let agent = first_answer(&host, &socket).await?;
        let public = host.node.is_public();
        let ports = FreshPorts::new(ports);
        Ok(Self {
            host,
            unit,
            socket,
            address,
            public,
            ports,
            hello: agent.hello.clone(),
            agent: Mutex::new(agent.into()),
        })
    }

    /// A fresh end of an attempt. A tester that was restarted is found again.
    pub async fn end(&self) -> Result<End, AgentError> {
        Ok(End {
            agent: self.agent().await?,
            bind: self.fresh_bind().await,
            public: self.public,
            outer: self.host.node.addresses.clone(),
        })
    }

    /// An address that nothing else of this run is bound to, and that no NAT has a
    /// mapping of any more.
    pub async fn fresh_bind(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.ports.next().await)
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

    pub fn address(&self) -> IpAddr {
        self.address
    }
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

/// A tester's own ports.
#[derive(Debug, Clone, Copy)]
pub struct OwnPorts {
    pub range: PortRange,
    /// Before a port is used again: until then NATs may remember it.
    pub cooloff: Duration,
}

/// Hands out every port of a range before any of them again. It begins
/// somewhere, so that two runs within a NAT's memory hardly meet.
struct FreshPorts {
    own: OwnPorts,
    drawn: AtomicU32,
    /// When each was handed out last.
    given: std::sync::Mutex<HashMap<u16, tokio::time::Instant>>,
}

impl FreshPorts {
    fn new(own: OwnPorts) -> Self {
        Self {
            own,
            drawn: AtomicU32::new(rand::random::<u32>() >> 1),
            given: std::sync::Mutex::default(),
        }
    }

    async fn next(&self) -> u16 {
        let OwnPorts { range, cooloff } = self.own;
        let size = u32::from(range.last - range.first) + 1;
        let offset = self.drawn.fetch_add(1, Ordering::Relaxed) % size;
        let port = range.first + u16::try_from(offset).unwrap_or(0);
        let is_cool = {
            let now = tokio::time::Instant::now();
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            let is_cool = given.get(&port).map_or(now, |at| now.max(*at + cooloff));
            given.insert(port, is_cool);
            is_cool
        };
        tokio::time::sleep_until(is_cool).await;
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ten_ports() -> FreshPorts {
        FreshPorts::new(OwnPorts {
            range: PortRange {
                first: 22000,
                last: 22009,
            },
            cooloff: Duration::from_millis(300),
        })
    }

    #[tokio::test]
    async fn ports_are_drawn_once_each() {
        let (ports, began) = (ten_ports(), tokio::time::Instant::now());
        let mut drawn = std::collections::BTreeSet::new();
        for _ in 0..10 {
            drawn.insert(ports.next().await);
        }
        assert_eq!(drawn, (22000..=22009).collect());
        assert!(
            began.elapsed() < Duration::from_millis(250),
            "fresh ones need not cool off"
        );
    }

    #[tokio::test]
    async fn a_port_cools_off_before_it_is_used_again() {
        let (ports, began) = (ten_ports(), tokio::time::Instant::now());
        for _ in 0..11 {
            ports.next().await;
        }
        assert!(began.elapsed() >= Duration::from_millis(300));
    }
}
