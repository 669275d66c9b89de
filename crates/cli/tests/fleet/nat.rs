//! NAT boxes and the prober behind them.

use std::net::SocketAddr;

use fleet::{Host, INNER_ADDRESS, NatBox, Service, Unit};
use model::nat::{Behaviour, Certificate, NatSpec, Observations, classify};
use model::protocol::{Call, Outcome, PortRange, Probe, Reflector, Request, Response};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use crate::twin::{SOON, UDP_TEST, connect, endpoint};

const PORT: u16 = 9100;
pub const PATH: &str = "/opt/nat";

pub const CLASSIC: [Behaviour; 4] = [
    Behaviour::FULL_CONE,
    Behaviour::ADDRESS_RESTRICTED,
    Behaviour::PORT_RESTRICTED,
    Behaviour::SYMMETRIC,
];

pub fn nat_box(spec: impl Into<NatSpec>) -> NatBox {
    NatBox {
        spec: spec.into(),
        ports: PortRange {
            first: 12000,
            last: 31999,
        },
    }
}

/// Two public coordinators that know each other.
async fn reflectors() -> Vec<Reflector> {
    static RUNNING: OnceCell<()> = OnceCell::const_new();
    RUNNING
        .get_or_init(|| async {
            tokio::join!(coordinate("pub-1", "pub-2"), coordinate("pub-2", "pub-1"));
        })
        .await;
    let reflector = |name| Reflector {
        primary: endpoint(name, PORT),
        alternate: endpoint(name, PORT + 1),
    };
    vec![reflector("pub-1"), reflector("pub-2")]
}

async fn coordinate(name: &str, partner: &str) {
    let host = connect(name).await;
    let word = |at: SocketAddr| at.to_string();
    let exec = [
        "coordinator".into(),
        "--bind".into(),
        word(endpoint(name, PORT)),
        "--partner".into(),
        word(endpoint(partner, PORT)),
    ];
    let service = udp_test("t-coordinator", exec.to_vec());
    host.install(&[service], PATH, |_, _| {}).await.unwrap();
    listens(&host, [PORT, PORT + 1]).await;
}

/// A service that has begun does not listen yet, and on a busy machine a probe's
/// patience may be over before it does.
async fn listens(host: &Host, ports: [u16; 2]) {
    let bound = async {
        loop {
            let taken = host.facts(PATH).await.unwrap().udp_ports;
            if ports.iter().all(|port| taken.contains(port)) {
                break;
            }
        }
    };
    let late = || panic!("{} does not listen on {ports:?}", host.name());
    tokio::time::timeout(SOON, bound)
        .await
        .unwrap_or_else(|_| late());
}

fn udp_test(name: &str, exec: Vec<String>) -> Service {
    Service {
        artifact: UDP_TEST.clone(),
        unit: Unit {
            name: format!("{name}.service"),
            description: "a test's".into(),
            exec,
            requires: Vec::new(),
            netns: None,
            instances: None,
        },
        pinned: false,
    }
}

fn socket(name: &str) -> String {
    format!("/run/vps-test/{name}.sock")
}

/// The prober as a service behind the host's box.
pub fn prober(host: &Host, name: &str) -> Service {
    let line = format!(
        "agent --node {} --project {name} --socket {}",
        host.name(),
        socket(name)
    );
    let mut service = udp_test(name, line.split(' ').map(str::to_owned).collect());
    service.unit.netns = Some(NatBox::NETNS.into());
    service.unit.requires = vec![NatBox::UNIT.into()];
    service
}

/// What the box in front of the prober `name` is.
pub async fn measure(host: &Host, name: &str) -> Certificate {
    measure_from(
        host,
        name,
        PortRange {
            first: 12000,
            last: 31999,
        },
    )
    .await
}

pub async fn measure_from(host: &Host, name: &str, ports: PortRange) -> Certificate {
    let probe = Probe {
        address: INNER_ADDRESS.into(),
        ports,
        reflectors: reflectors().await,
        patience_ms: 400,
        silences_ms: Vec::new(),
        stun: None,
    };
    let label = format!("{name}-{}", std::process::id());
    let forwarded = host.forward_socket(&socket(name), &label).await.unwrap();
    let stream = connect_when_ready(&forwarded.path).await;
    let (read, mut write) = stream.into_split();
    let request = Request {
        id: 1,
        call: Call::Probe(probe),
    };
    let line = serde_json::to_string(&request).unwrap() + "\n";
    write.write_all(line.as_bytes()).await.unwrap();
    let answer = BufReader::new(read).lines().next_line().await.unwrap();
    let response: Response = serde_json::from_str(&answer.unwrap()).unwrap();
    let Outcome::Result(result) = response.outcome else {
        panic!("{response:?}");
    };
    let seen: Observations = serde_json::from_value(result).unwrap();
    classify(&seen)
}

async fn connect_when_ready(path: &std::path::Path) -> UnixStream {
    UnixStream::connect(path).await.unwrap()
}
