//! IPv6 as a family of its own, between firewalls.

use serde_json::Value;

use crate::bed::{Bed, criterion, node};

pub const FLEET: &str = "\
fleet: small
nodes:
  - { name: hub, addresses: [192.0.2.1], role: registry }
  - { name: one, addresses: [192.0.2.11, \"2001:db8::11\"], role: bootstrap }
  - { name: two, addresses: [192.0.2.12, \"2001:db8::12\"], role: bootstrap }
  - { name: old, addresses: [192.0.2.13], role: test }
  - { name: port, addresses: [192.0.2.22, \"2001:db8::22\"], role: nat, nat: { type: port-restricted } }
  - { name: hard, addresses: [192.0.2.23, \"2001:db8::23\"], role: nat, nat: { type: symmetric } }
";

fn speak_both(bed: &Bed) {
    let file = bed.dir.path().join("vps-test.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let families = "  connectivity:\n    families: [ipv4, ipv6]\n";
    bed.write_config(&text.replace("  connectivity:\n", families));
}

#[test]
fn two_firewalls_let_through_what_two_nats_do_not_and_are_measured() {
    let bed = Bed::new("ipv6", FLEET).up();
    speak_both(&bed);
    let ran = bed.start();
    let proof = bed.proof();
    let cells = proof["matrix"].as_array().unwrap();
    // IPv4 goes without saying.
    let family_of = |cell: &Value| cell["family"].as_str().unwrap_or("ipv4").to_owned();
    let of = |family: &str| cells.iter().filter(|c| family_of(c) == family).count();
    assert_eq!(
        (of("ipv4"), of("ipv6")),
        (20, 12),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    let hard = |family: &str| -> &Value {
        let fits = |c: &&Value| c["from"] == "hard" && c["to"] == "port" && family_of(c) == family;
        cells.iter().find(fits).unwrap()
    };
    assert_eq!(hard("ipv4")["predicted"], "never");
    let punched = hard("ipv6");
    assert_eq!(punched["predicted"], "always");
    assert_eq!(punched["category"], "nat_traversed");
    assert_eq!(
        (&punched["observed"], &punched["reference"]),
        (&"direct".into(), &"direct".into())
    );
    for name in ["direct_ipv6", "nat_traversed_ipv6"] {
        assert_eq!(criterion(&proof, name)["verdict"], "PASS", "{}", ran.stdout);
    }
    let firewall = &node(&proof, "port")["firewall"];
    assert_eq!(firewall["measured"], "a firewall without translation");
    assert!(
        firewall["evidence"].to_string().contains("[3018:"),
        "{firewall}"
    );
    assert!(node(&proof, "one").get("firewall").is_none());
    assert!(
        ran.stdout.contains("direct_ipv6") && ran.stdout.contains("  IPv6\n"),
        "{}",
        ran.stdout
    );

    // Behind the firewall, out and not in.
    bed.on("port", "ip netns exec natbox ping -6 -c 1 -W 2 3018:1::10");
    bed.on("one", "! ping -6 -c 1 -W 1 3018:3::213:77:2");

    // A firewall that lets everybody in is not what it should be.
    bed.on("port", "nft flush chain ip6 vps_test_firewall forward");
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .contains("stateful IPv6 firewall, measured as none"),
        "{}",
        ran.stdout
    );

    let before = bed.on("one", "cat /proc/sys/net/ipv6/conf/all/forwarding");
    let clean = bed.run(&["clean", "--yes", "--twin", bed.twin()]);
    assert_eq!(clean.code, 0, "{}", clean.stderr);
    let left = bed.on(
        "port",
        "nft list tables; cat /proc/sys/net/ipv6/conf/all/forwarding; ip -6 neigh show proxy; ls /etc/systemd/system | grep vps-test; true",
    );
    assert_eq!(left, before, "all is as it was");
}
