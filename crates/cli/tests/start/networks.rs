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
    let lost = bed.proof()["attempts"].as_array().unwrap().iter().any(|a| {
        let sentence = a["explanation"]["sentence"].as_str().unwrap_or_default();
        a["explanation"]["cause"] == "lost_on_the_way"
            && sentence.starts_with("none of ")
            && sentence.contains(" packets from cone's 198.18.4.10:")
            && sentence.contains(" to port arrived at 198.18.5.10:")
    });
    assert!(lost, "the cut is named: {}", ran.stdout);
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

const SHAPED: &str = "\
wan:
  links:
    - { from: one, to: two, delay_ms: 20, jitter_ms: 6, rate_mbit: 10 }
    - { from: two, to: one, delay_ms: 20 }
    - { from: one, to: cone, loss_percent: 8 }
";

/// Set beside measured; and a network that does something else is no ground to test on.
#[test]
fn a_network_that_is_not_what_it_is_set_to_be_is_named() {
    let bed = Bed::new("links", &format!("{FLEET}{SHAPED}")).up();
    let ran = bed.start();
    let proof = bed.proof();
    let links = proof["links"].as_array().unwrap();
    let link = |from: &str, to: &str| {
        let is_it = |l: &&serde_json::Value| l["from"] == from && l["to"] == to;
        links
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{from} → {to} in {links:?}"))
    };
    assert_eq!(links.len(), 3, "{links:?}");
    assert!(
        links.iter().all(|l| l["mismatch"].is_null()),
        "{links:?}\n{}",
        ran.stdout
    );
    let number = |link: &serde_json::Value, what: &str| link["measured"][what].as_f64().unwrap();
    let shaped = link("one", "two");
    assert!((number(shaped, "delay_ms") - 40.0).abs() < 6.0, "{shaped}");
    assert!((number(shaped, "rate_mbit") - 10.0).abs() < 2.5, "{shaped}");
    assert!(number(shaped, "jitter_ms") > 2.0, "{shaped}");
    assert!(number(link("cone", "one"), "loss_percent") > 1.0);

    // The WAN loses 4% where nobody asked for it.
    let twin = Twin::open(bed.twin()).unwrap();
    let (one, two) = (NodeName::new("one"), NodeName::new("two"));
    let fleet = twin.fleet().clone();
    let set = fleet.link(fleet.node(&one).unwrap(), fleet.node(&two).unwrap());
    let lossy = model::inventory::Link {
        loss_percent: 4.0,
        ..set
    };
    twin.set_link(&one, &two, lossy).unwrap();
    let ran = bed.start();
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    let named = "the network between hosts is not what it is set to be: one → two: loss";
    assert!(ran.stdout.contains(named), "{}", ran.stdout);
}
