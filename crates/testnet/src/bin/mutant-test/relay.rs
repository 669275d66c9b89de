//! What a tester that relays in secret needs: forwarders at every coordinator, and a
//! rule by which both ends of an attempt take the same one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const FIRST_PORT: u16 = 40_000;
/// One attempt each at a time, most likely.
const PORTS: u16 = 256;
/// Both ends send more often.
const FORGET: Duration = Duration::from_secs(1);

/// Forwards between the two that send to each port, for as long as the process lives.
pub fn serve() {
    for port in FIRST_PORT..FIRST_PORT + PORTS {
        std::thread::spawn(move || {
            if let Ok(socket) = UdpSocket::bind(("0.0.0.0", port)) {
                bridge(&socket);
            }
        });
    }
}

fn bridge(socket: &UdpSocket) {
    let mut ends: Vec<(SocketAddr, Instant)> = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let now = Instant::now();
        ends.retain(|(end, heard)| *end != from && now - *heard < FORGET);
        for (other, _) in &ends {
            let _ = socket.send_to(&buffer[..length], other);
        }
        ends.push((from, now));
    }
}

/// What is known of each attempt, to turn its dials aside.
#[derive(Default)]
pub struct Detours {
    prepared: Mutex<HashMap<String, Known>>,
}

#[derive(Default)]
struct Known {
    coordinators: Vec<SocketAddr>,
    own: Option<IpAddr>,
}

impl Detours {
    pub fn asked_to_prepare(&self, request: &Value) {
        let addresses = request["params"]["coordinators"].as_array();
        let coordinators = addresses.into_iter().flatten().filter_map(address);
        let known = Known {
            coordinators: coordinators.collect(),
            own: None,
        };
        super::lock(&self.prepared).insert(attempt(request), known);
    }

    pub fn prepared(&self, attempt: &str, result: &Value) {
        let own = address(&result["observed"][0]["address"]);
        if let Some(known) = super::lock(&self.prepared).get_mut(attempt) {
            known.own = own.map(|address| address.ip());
        }
    }

    /// Has the other side be looked for at a forwarder on a third host, where there
    /// is one. The other side comes to the same.
    pub fn turn_aside(&self, request: &mut Value) {
        let attempt = attempt(request);
        let target = &mut request["params"]["target"]["addresses"];
        let known = super::lock(&self.prepared);
        let (Some(known), Some(theirs)) = (known.get(&attempt), address(&target[0])) else {
            return;
        };
        let is_third = |at: &&SocketAddr| Some(at.ip()) != known.own && at.ip() != theirs.ip();
        if let Some(third) = known.coordinators.iter().find(is_third) {
            let mut hasher = DefaultHasher::new();
            attempt.hash(&mut hasher);
            let port = FIRST_PORT + (hasher.finish() % u64::from(PORTS)) as u16;
            *target = json!([SocketAddr::new(third.ip(), port)]);
        }
    }
}

pub fn attempt(request: &Value) -> String {
    request["params"]["attempt"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn address(value: &Value) -> Option<SocketAddr> {
    value.as_str()?.parse().ok()
}
