//! A standard server and a standard client: coturn.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use model::nat::Behaviour;

use crate::site::{PROGRAM, SITE};

/// The node behind each behaviour.
fn boxes() -> BTreeMap<&'static str, Behaviour> {
    ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"]
        .into_iter()
        .zip(Behaviour::ALL)
        .collect()
}

/// coturn on the node with two addresses; the first of them.
fn server() -> String {
    let fleet = SITE.twin.relocated();
    let node = fleet
        .nodes
        .iter()
        .find(|n| n.name.as_str() == "stun")
        .unwrap();
    let listen: String = node.addresses.iter().map(|a| format!(" -L {a}")).collect();
    SITE.on(
        "stun",
        &format!(
            "systemctl is-active -q t-coturn || systemd-run -q --unit t-coturn -p Type=exec \
             turnserver -n -S --no-cli --no-tls --no-dtls --simple-log --log-file stdout \
             --pidfile /run/t-coturn.pid{listen}; \
             until ss -Hlun sport = :3479 | grep -q .; do sleep 0.05; done"
        ),
    );
    node.addresses[0].to_string()
}

#[test]
fn a_standard_server_shows_all_nine_to_be_what_they_are() {
    let server = server();
    let (all, _) = SITE.verify(&["--stun", &server]);
    for (node, behaviour) in boxes() {
        let found = all.iter().find(|b| b["node"] == node).unwrap();
        assert_eq!(found["behaviour"], behaviour.to_string(), "{found:#}");
        assert_eq!(found["as_labelled"], true, "{found:#}");
        assert_eq!(found["certificate"]["partial"], false);
    }
}

/// Nobody of ours measures here: coturn's client in our box, with coturn's server.
#[test]
fn coturns_own_client_says_the_same() {
    let server = server();
    // The boxes are there once they were verified.
    SITE.verify(&[]);
    let discover = format!(
        "ip netns exec natbox turnutils_natdiscovery -m -f -L 10.213.77.2 -l 13999 {server} 2>&1"
    );
    let running: Vec<_> = boxes()
        .into_iter()
        .map(|(node, behaviour)| {
            let child = Command::new(PROGRAM)
                .args([
                    "lab", "exec", "--name", &SITE.name, node, "--", "sh", "-c", &discover,
                ])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            (node, behaviour, child)
        })
        .collect();
    for (node, behaviour, child) in running {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wanted = behaviour.to_string();
        let (mapping, filtering) = wanted.split_once('/').unwrap();
        for (kind, what) in [
            (mapping.trim_end_matches('M'), "Mapping"),
            (filtering.trim_end_matches('F'), "Filtering"),
        ] {
            let kind = match kind {
                "EI" => "Endpoint Independent",
                "AD" => "Address Dependent",
                _ => "Address and Port Dependent",
            };
            let verdict = format!("NAT with {kind} {what}!");
            assert!(
                said.contains(&verdict),
                "{node} is {behaviour}, coturn said:\n{said}"
            );
        }
    }
}

#[test]
fn a_server_that_is_none_is_said_to_be_none() {
    let fleet = SITE.twin.relocated();
    let nobody = format!("{}:9", fleet.nodes[0].address());
    let output = SITE.nat(&["verify", "n1", "--stun", &nobody]);
    assert_eq!(output.status.code(), Some(4));
    let said = crate::site::text(&output);
    assert!(said.contains("no UDP gets through"), "{said}");
}
