//! IPv6 in the twin: the same internet, with the same promises.

use std::net::UdpSocket;
use std::time::Duration;

use crate::site::SHARED;
use crate::traffic::{count, least_ms, send, send_segmented};
use crate::wan::alone;

fn pair(from: &str, to: &str) -> (UdpSocket, UdpSocket) {
    let socket = |node: &str| SHARED.socket_at(node, SHARED.address_v6(node));
    (socket(from), socket(to))
}

#[test]
fn packets_meet_the_link_of_their_hosts() {
    let _alone = alone();
    let slow = send(&pair("a", "london"), 20, 100, Duration::from_millis(5));
    assert!((least_ms(&slow) - 30.0).abs() <= 1.0, "{}", least_ms(&slow));
    let lossy = pair("b", "london");
    let arrived = send(&lossy, 1000, 100, Duration::ZERO).len() as u64;
    assert!(
        (680..820).contains(&arrived),
        "{arrived} of 1000 at 25% loss"
    );
    assert_eq!(SHARED.flow(&lossy.0, &lossy.1), (arrived, arrived * 100));
}

#[test]
fn super_packets_are_counted_and_split() {
    let _alone = alone();
    let whole = pair("a", "b");
    for _ in 0..10 {
        send_segmented(&whole, 40, 1200);
    }
    assert_eq!(count(&whole.1, 1200), 400);
    assert_eq!(SHARED.flow(&whole.0, &whole.1), (400, 480_000));
    let lossy = pair("b", "london");
    for _ in 0..25 {
        send_segmented(&lossy, 40, 1200);
    }
    let arrived = count(&lossy.1, 1200);
    assert!((680..820).contains(&arrived), "{arrived} of 1000");
}

#[test]
fn fragments_belong_to_their_flow() {
    let (a, b) = pair("a", "b");
    let mut buffer = [0; 4000];
    a.send_to(&buffer[..3000], b.local_addr().unwrap()).unwrap();
    assert_eq!(b.recv(&mut buffer).unwrap(), 3000);
    let (packets, bytes) = SHARED.flow(&a, &b);
    assert_eq!((packets, bytes), (3, 3000));
}

#[test]
fn tcp_crosses_a_lossy_link_whole() {
    let _alone = alone();
    let address = SHARED.address_v6("london");
    SHARED.sh(
        "london",
        "rm -f /tmp/got6; systemd-run -q --unit=sink6 socat -u TCP6-LISTEN:5006 CREATE:/tmp/got6",
    );
    SHARED.sh(
        "london",
        "for i in $(seq 50); do ss -ltn | grep -q :5006 && exit 0; sleep 0.1; done; exit 1",
    );
    SHARED.sh(
        "b",
        &format!("head -c 300000 /usr/bin/ssh | timeout 20 socat -u - 'TCP6:[{address}]:5006'"),
    );
    SHARED.sh(
        "london",
        "for i in $(seq 100); do systemctl is-active -q sink6 || exit 0; sleep 0.1; done; exit 1",
    );
    let sums = [
        SHARED.sh("london", "sha256sum < /tmp/got6"),
        SHARED.sh("b", "head -c 300000 /usr/bin/ssh | sha256sum"),
    ];
    assert_eq!(sums[0], sums[1]);
}

#[test]
fn all_of_a_hosts_64_leads_to_it_and_nothing_else_does() {
    let first = SHARED.address_v6("tokyo").to_string();
    let second = first.replace("::10", "::213:77:2");
    let ping = format!(
        "ip addr add {second}/128 dev lo nodad; trap 'ip addr del {second}/128 dev lo' EXIT; \
         sleep 1"
    );
    std::thread::scope(|scope| {
        scope.spawn(|| SHARED.sh("tokyo", &ping));
        SHARED.sh("a", &format!("for i in 1 2 3 4 5; do ping -6 -c 1 -W 1 {second} && exit 0; sleep 0.1; done; exit 1"));
    });
    let before = SHARED.twin.status().unwrap().wan;
    let stranger = SHARED.exec("a", &["ping", "-6", "-c", "1", "-W", "1", "2001:db8::22"]);
    let forge = "ip addr add 3018:1::99/128 dev lo nodad; ping -6 -c 1 -W 1 -I 3018:1::99 3018:4::10; ip addr del 3018:1::99/128 dev lo";
    let forged = SHARED.exec("b", &["sh", "-c", forge]);
    let after = SHARED.twin.status().unwrap().wan;
    assert!(!stranger.status.success());
    assert!(after.no_route > before.no_route, "{stranger:?}");
    assert!(after.spoofed > before.spoofed, "{forged:?}");
}

#[test]
fn nobody_on_the_link_is_talked_to() {
    let addresses = SHARED.sh("a", "ip -6 -o addr show dev eth0");
    assert_eq!(addresses.lines().count(), 1, "{addresses}");
    let routes = SHARED.sh("a", "ip -6 route show default");
    assert!(routes.starts_with("default dev eth0"), "{routes}");
    assert_eq!(SHARED.twin.status().unwrap().wan.not_ip, 0);
}
