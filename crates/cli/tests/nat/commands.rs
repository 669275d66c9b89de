//! apply, verify, rebind, remove.

use serde_json::Value;

use crate::site::{SITE, text};

fn of<'a>(all: &'a [Value], node: &str) -> &'a Value {
    all.iter().find(|b| b["node"] == node).unwrap()
}

fn value<'a>(one: &'a Value, property: &str) -> &'a str {
    let all = one["properties"].as_array().unwrap();
    let found = all.iter().find(|p| p["name"] == property);
    found.unwrap()["value"].as_str().unwrap()
}

#[test]
fn every_box_of_the_inventory_is_what_it_says_and_no_run_was_needed() {
    let (all, status) = SITE.verify(&[]);
    let wrong: Vec<&Value> = all.iter().filter(|b| b["as_labelled"] != true).collect();
    assert!(wrong.is_empty() && status == 0, "{wrong:#?}");
    assert_eq!(all.len(), 12);
    assert_eq!(of(&all, "n6")["behaviour"], "ADM/APDF");
    assert_eq!(value(of(&all, "n6"), "UDP timeout"), "not measured");

    // Two NATs in a row are the stricter of both, out of a carrier's block.
    let carrier = of(&all, "carrier");
    assert_eq!(carrier["behaviour"], "ADM/ADF");
    assert_eq!(value(carrier, "port preservation"), "no");

    let short = of(&all, "short");
    assert_eq!(value(short, "hairpin"), "yes");
    assert_eq!(value(short, "port preservation"), "no");
    assert!(value(short, "UDP timeout").ends_with(" s"), "{short:#}");

    assert_eq!(of(&all, "blocked")["measured"], "no UDP gets through");
}

#[test]
fn a_box_that_was_changed_behind_its_label_is_seen() {
    SITE.nat(&["apply", "n2", "address-restricted"]);
    let swap = "nft flush chain ip vps_test_natbox back && nft add rule ip vps_test_natbox back \
                iifname eth0 meta l4proto udp dnat ip to udp dport map @open";
    SITE.on("n2", swap);
    let output = SITE.nat(&["verify", "n2"]);
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output);
    let wanted =
        "NOT AS LABELLED: labelled Address Restricted (EIM/ADF), measured Full Cone (EIM/EIF)";
    assert!(said.contains(wanted), "{said}");
    // It is damaged, but not gone: what it is asked to be is the same.
    SITE.nat(&["remove", "n2"]);
    let (all, status) = SITE.verify(&["n2"]);
    assert_eq!(
        (of(&all, "n2")["behaviour"].as_str(), status),
        (Some("EIM/ADF"), 0)
    );
}

#[test]
fn firewalls_of_ipv6_are_put_up_and_measured_too() {
    let (all, status) = SITE.verify(&["--ipv6"]);
    assert_eq!((all.len(), status), (3, 0), "{all:#?}");
    for node in ["n1", "n9"] {
        let one = of(&all, node);
        assert_eq!(one["measured"], "a firewall without translation");
        assert_eq!(value(one, "port preservation"), "yes");
    }
    assert_eq!(of(&all, "blocked")["measured"], "no UDP gets through");

    SITE.on("n9", "nft flush chain ip6 vps_test_firewall forward");
    let output = SITE.nat(&["verify", "--ipv6", "n9"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let wanted = "labelled a stateful IPv6 firewall, measured as none";
    assert!(said.contains(wanted), "{said}");
    SITE.nat(&["remove", "n9"]);
    let (all, status) = SITE.verify(&["--ipv6", "n9"]);
    assert_eq!((all.len(), status), (1, 0), "{all:#?}");
}

#[test]
fn a_box_becomes_what_it_is_told_and_goes_when_it_is_told() {
    let spec = "{ behaviour: APDM/EIF, hairpin: true }";
    let applied = SITE.nat(&["apply", "n3", spec]);
    assert!(applied.status.success(), "{}", text(&applied));
    assert!(
        text(&applied).contains("the inventory says Port Restricted"),
        "{}",
        text(&applied)
    );
    let (all, status) = SITE.verify(&["n3"]);
    let one = of(&all, "n3");
    assert_eq!(
        (one["behaviour"].as_str(), status),
        (Some("APDM/EIF"), 0),
        "{one:#}"
    );
    assert_eq!(value(one, "hairpin"), "yes");

    assert!(text(&SITE.nat(&["remove", "n3"])).contains("NAT box removed"));
    let left = SITE.on(
        "n3",
        "nft list tables; find /run/netns /var/lib/vps-test/natbox -mindepth 1 2>/dev/null; true",
    );
    assert_eq!(left.trim(), "");
    assert!(text(&SITE.nat(&["remove", "n3"])).contains("there was no NAT box"));
}

#[test]
fn words_that_are_wrong_are_errors_of_usage() {
    for (words, wanted) in [
        (vec!["apply", "n1", "symetric"], "did you mean `symmetric`"),
        (vec!["apply", "nobody", "symmetric"], "nobody"),
        (vec!["verify", "meet-1"], "meet-1 has no NAT box"),
        (vec!["rebind", "meet-1"], "meet-1 has no NAT box"),
        (
            vec!["verify", "--ipv6", "n2"],
            "n2 of fleet nats has no IPv6 address",
        ),
        (
            vec!["verify", "--ipv6", "--stun", "192.0.2.3"],
            "leave out --ipv6",
        ),
    ] {
        let output = SITE.nat(&words);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(wanted), "{words:?}: {said}");
    }
}

/// A flow that lives through `rebind` goes on from another outer port, whether the
/// NAT keeps ports or draws them.
#[test]
fn a_rebind_gives_a_living_flow_another_port() {
    let server = SITE.twin.relocated().nodes[1].address();
    let echo = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7000))
while True:
    data, at = s.recvfrom(64); s.sendto(('%s:%d' % at).encode(), at)";
    SITE.on("meet-2", &format!("systemd-run -q --unit t-echo python3 -c \"{echo}\"; until ss -Hlun sport = :7000 | grep -q .; do sleep 0.05; done"));
    let flow = format!(
        "import os, socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.213.77.2', 15555)); s.settimeout(1)
def seen():
    for _ in range(5):
        s.sendto(b'?', ('{server}', 7000))
        try: return s.recv(64).decode()
        except socket.timeout: pass
    return 'lost'
print(seen(), seen()); open('/run/first', 'w').close()
while not os.path.exists('/run/rebound'): time.sleep(0.05)
print(seen(), seen())"
    );
    for (node, nat) in [("n1", "full-cone"), ("n9", "symmetric")] {
        SITE.nat(&["apply", node, nat]);
        let talk = format!(
            "rm -f /run/first /run/rebound; systemd-run -q --unit t-flow -p NetworkNamespacePath=/run/netns/natbox \
             -p StandardOutput=file:/run/flow python3 -c \"{flow}\"; until [ -e /run/first ]; do sleep 0.05; done"
        );
        SITE.on(node, &talk);
        let rebound = SITE.nat(&["rebind", node]);
        assert!(rebound.status.success(), "{}", text(&rebound));
        let said = SITE.on(
            node,
            "touch /run/rebound; while systemctl is-active -q t-flow; do sleep 0.05; done; cat /run/flow",
        );
        let seen: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(seen.len(), 4, "{node}: {said}");
        assert_eq!((seen[0], seen[2]), (seen[1], seen[3]), "{node}: {said}");
        assert!(
            seen[0] != seen[2] && !said.contains("lost"),
            "{node}: {said}"
        );
    }
}
