//! Ports that are not preserved: none lost, none shared, all in their block.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use model::nat::{Behaviour, NatSpec};
use testnet::{Background, Host, Net, PORTS};

/// Echoes every datagram with the address that it came from.
const ECHO: &str = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind((sys.argv[1], int(sys.argv[2])))
print('ready', flush=True)
while True:
    data, at = s.recvfrom(64)
    s.sendto(('%s:%d' % at).encode(), at)
";

/// Opens so many flows to one destination and prints the outer address of each,
/// or `lost`.
const FLOWS: &str = "
import select, socket, sys
here, first, count, to = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), (sys.argv[4], int(sys.argv[5]))
flows = {}
for port in range(first, first + count):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((here, port)); s.connect(to)
    flows[s] = None
for s in flows: s.send(b'?')
while None in flows.values():
    ready = select.select([s for s in flows if flows[s] is None], [], [], 1)[0]
    if not ready: break
    for s in ready: flows[s] = s.recv(64).decode()
for seen in flows.values(): print(seen or 'lost')
";

struct Echo {
    at: (String, String),
    _running: Background,
}

fn echo(host: &Host, port: u16) -> Echo {
    let at = (host.address.to_string(), port.to_string());
    let mut command = host.command("python3");
    command
        .args(["-c", ECHO, &at.0, &at.1])
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 starts");
    let stdout = child.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(stdout, &mut [0; 6]).expect("it is ready");
    Echo {
        at,
        _running: Background(child),
    }
}

/// The outer ports, in the order of the inner ones; `None` is a flow that was lost.
fn flows(from: &Host, first: u16, count: u16, to: &Echo) -> Vec<Option<u16>> {
    let here = from.address.to_string();
    let words = [first.to_string(), count.to_string()];
    let mut command: Command = from.command("python3");
    command.args(["-c", FLOWS, &here, &words[0], &words[1], &to.at.0, &to.at.1]);
    let output = command.output().expect("python3 runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let port = |line: &str| line.rsplit(':').next()?.parse().ok();
    text.lines().map(port).collect()
}

fn distinct(ports: &[Option<u16>]) -> BTreeSet<u16> {
    let known: Vec<u16> = ports.iter().flatten().copied().collect();
    let distinct: BTreeSet<u16> = known.iter().copied().collect();
    assert_eq!(
        distinct.len(),
        known.len(),
        "a port was given twice: {known:?}"
    );
    distinct
}

#[test]
fn three_hundred_flows_to_one_destination_are_all_there() {
    let mut net = Net::new();
    let server = net.public("server");
    let (one, other) = (echo(&server, 7000), echo(&server, 7001));
    for behaviour in ["ADM/APDF", "ADM/EIF", "APDM/APDF"] {
        let behaviour: Behaviour = behaviour.parse().unwrap();
        let name = behaviour.to_string().to_lowercase().replace('/', "");
        let host = net.behind(&name, behaviour);
        let seen = flows(&host, 20_000, 300, &one);
        assert!(!seen.contains(&None), "{behaviour}: {seen:?}");
        let ports = distinct(&seen);
        assert!(ports.iter().all(|p| (PORTS.first..=PORTS.last).contains(p)));
        assert_eq!(ports.len(), 300);
        // Where only the address counts, the other port sees the same.
        let again = flows(&host, 20_000, 300, &other);
        let is_same = again == seen;
        assert_eq!(
            is_same,
            behaviour.to_string().starts_with("ADM"),
            "{behaviour}"
        );
        assert!(!again.contains(&None));
    }
}

#[test]
fn a_bounded_block_is_every_hosts_own_and_ends() {
    let mut net = Net::new();
    let server = echo(&net.public("server"), 7000);
    let spec = NatSpec {
        port_preservation: false,
        port_block: Some(64),
        ..NatSpec::from(Behaviour::FULL_CONE)
    };
    let hosts = net.all_behind(&["sub1", "sub2"], spec);
    // The same inner ports on both: behind a carrier nobody can agree on them.
    for (index, host) in hosts.iter().enumerate() {
        let seen = flows(host, 20_000, 80, &server);
        let first = PORTS.first + 64 * u16::try_from(index).unwrap();
        let block: BTreeSet<u16> = (first..first + 64).collect();
        assert_eq!(distinct(&seen), block, "host {index}");
        assert_eq!(seen.iter().filter(|port| port.is_none()).count(), 16);
    }
}
