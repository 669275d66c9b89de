//! Networks that are not what they should be end the run as infrastructure.

use lab::Twin;
use model::inventory::NodeName;

use crate::bed::{Bed, FLEET, node};

#[test]
fn a_box_that_is_not_what_its_label_says_stops_the_run_and_shows_both() {
    let bed = Bed::new("label", FLEET).up();
    bed.on(
        "cone",
        "nft 'add table ip meddler; \
              add chain ip meddler out { type nat hook postrouting priority srcnat - 5; }; \
              add rule ip meddler out ip saddr 10.213.77.2 masquerade fully-random'",
    );
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .contains("cone: labelled Full Cone (EIM/EIF), measured"),
        "{}",
        ran.stdout
    );
    let proof = bed.proof();
    assert_ne!(
        node(&proof, "cone")["nat"]["measured"],
        node(&proof, "cone")["nat"]["labelled"]
    );
    assert!(
        proof["attempts"].as_array().unwrap().is_empty(),
        "nothing may be tested behind it"
    );
}

#[test]
fn a_cell_where_plain_udp_contradicts_theory_is_named() {
    let bed = Bed::new("theory", FLEET).up();
    let twin = Twin::open(bed.twin()).unwrap();
    twin.cut(&NodeName::new("cone"), &NodeName::new("port"), true)
        .unwrap();
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .contains("plain UDP does not do what theory says in 2 of 12 cells"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("cone → port (theory: always"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("port → cone (theory: always"),
        "{}",
        ran.stdout
    );
    let stack = |a: &&serde_json::Value| a["matrix"] == "stack";
    assert_eq!(
        bed.proof()["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(stack)
            .count(),
        0
    );
}
