//! The suite `nat-traversal` with plain UDP: every pair of behaviours, each with itself
//! included, and what becomes of connections whose mapping goes.

use serde_json::Value;

use crate::bed::{Bed, node, trials};

const FLEET: &str = "\
fleet: small
nodes:
  - { name: hub, addresses: [192.0.2.1], role: registry }
  - { name: one, addresses: [192.0.2.11], role: bootstrap }
  - { name: two, addresses: [192.0.2.12], role: bootstrap }
  - { name: cone, addresses: [192.0.2.21], role: nat, nat: { type: full-cone, udp_timeout: 5s } }
  - { name: port, addresses: [192.0.2.22], role: nat, nat: { type: port-restricted } }
  - { name: hard, addresses: [192.0.2.23], role: nat, nat: { type: symmetric } }
";

#[test]
fn every_behaviour_meets_itself_and_each_box_is_its_own_again() {
    let bed = Bed::new("natted", FLEET).up();
    let config = bed.dir.path().join("vps-test.yaml");
    let text = std::fs::read_to_string(config).unwrap();
    bed.write_config(&text.replace("[connectivity]", "[connectivity, nat-traversal]"));
    let words = bed.start_words(&[]);
    let words: Vec<&str> = words
        .into_iter()
        .map(|word| {
            if word == "connectivity" {
                "nat-traversal"
            } else {
                word
            }
        })
        .collect();
    let ran = bed.run(&words);
    let said = format!("{}\n{}", ran.stdout, ran.stderr);
    assert_ne!(ran.code, 2, "{said}");
    let proof = bed.proof();

    let itself = |name: &str| -> Value {
        let pairs = proof["behaviours"].as_array().unwrap().iter();
        let ours = |p: &&Value| p["caller"] == p["callee"] && p["caller"].as_str() == Some(name);
        pairs.clone().find(ours).unwrap().clone()
    };
    for name in ["Full Cone (EIM/EIF)", "Port Restricted (EIM/APDF)"] {
        let pair = itself(name);
        let seen = (&pair["attempts"], &pair["successes"], &pair["stood_in"]);
        assert_eq!(seen, (&6.into(), &6.into(), &true.into()), "{said}");
    }
    // Plain UDP has no way between these, as theory says.
    let hard = itself("Symmetric (APDM/APDF)");
    assert_eq!(
        (&hard["attempts"], &hard["successes"]),
        (&6.into(), &0.into())
    );
    assert!(
        said.contains("6/6 [54.1, 100.0], with a stand-in"),
        "{said}"
    );
    assert!(said.contains("hard, standing in, is measured as"), "{said}");

    // Of a flood of datagrams that comes nobody can say that it came whole: half of these
    // were not decided, and plain UDP finds no way back in the others.
    assert_eq!(trials(&proof, "survived_rebind"), 3, "{said}");
    assert_eq!(trials(&proof, "survived_expiry"), 1, "{said}");

    for (name, is) in [("port", "EIM/APDF"), ("hard", "APDM/APDF")] {
        let nat = &node(&proof, name)["nat"];
        assert_eq!(
            nat["measured"], nat["labelled"],
            "{name} is not {is}: {nat}"
        );
    }
    let verified = bed.run(&["nat", "verify", "--twin", bed.twin()]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
    let applied = "ls /var/lib/vps-test/natbox/applied";
    for name in ["cone", "port", "hard"] {
        bed.on(name, applied);
    }
}
