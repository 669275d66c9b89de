//! Several testers in one process, over loopback: every suite, without an engine.

mod field;

use serde_json::json;

use field::Field;

#[test]
fn what_one_peer_publishes_comes_to_all_others() {
    let mut field = Field::new("broadcast", 4);
    field.every("join", json!(null));
    field.every("meet", json!(null));
    field.every("enter", json!(null));
    field.turns("publish", json!({ "messages": 3, "bytes": 2000 }));
    field.every("collect", json!(null));
    field.every("hops", json!(null));
    assert_eq!(field.trials("linked"), (6, 0), "{:?}", field.details);
    assert_eq!(field.trials("delivered"), (36, 0), "{:?}", field.details);
    assert_eq!(field.samples("delivery_ms").len(), 36);
    assert_eq!(field.samples("duplicates").len(), 36);
    let bytes = field.samples("payload_bytes_per_delivery");
    assert!(
        bytes.iter().all(|n| (2000.0..2200.0).contains(n)),
        "{bytes:?}"
    );
    let hops = field.samples("hops");
    assert!(
        !hops.is_empty() && hops.iter().all(|n| *n >= 1.0),
        "{hops:?}"
    );
    println!("delivery_ms {:?}", field.samples("delivery_ms"));
    println!("duplicates {:?}", field.samples("duplicates"));
    println!("hops {hops:?}");
    field.every("end", json!(null));
}

#[test]
fn replicas_become_what_the_model_says() {
    let mut field = Field::new("crdt-sync", 3);
    field.every("join", json!(null));
    field.every("meet", json!(null));
    field.every("enter", json!(null));
    field.every("edit", json!({ "seconds": 4 }));
    field.every("edit", json!({ "apart": true, "seconds": 0 }));
    field.every("converge", json!(null));
    field.every("compare", json!(null));
    let (converged, failed) = field.trials("converged");
    assert_eq!((converged, failed), (9, 0), "{:?}", field.details);
    // Whether registers with several writers agree is for the stack to show.
    println!("agreed {:?} {:?}", field.trials("agreed"), field.details);
    println!("convergence_ms {:?}", field.samples("convergence_ms"));
    assert_eq!(field.agreed("or-set"), (3, 0), "{:?}", field.details);
    field.every("end", json!(null));
}

#[test]
fn who_leaves_or_dies_is_missed_and_nobody_else() {
    let mut field = Field::new("membership", 4);
    field.every("join", json!(null));
    field.every("meet", json!(null));
    field.every("enter", json!(null));
    field.every("settle", json!({ "seconds": 3 }));
    field.every("overlay", json!(null));
    field.one(1, "leave", json!(null));
    field.every("left", json!(null));
    field.one(1, "return", json!(null));
    field.every("meet", json!(null));
    field.one(1, "enter", json!({ "again": true }));
    field.every("settle", json!({ "seconds": 3 }));
    field.every("overlay", json!(null));
    field.crash(1);
    field.every("crashed", json!(null));
    for name in ["detected", "unsuspected", "in_overlay"] {
        println!("{name} {:?}", field.trials(name));
    }
    for name in ["join_ms", "detect_ms", "view_size"] {
        println!("{name} {:?}", field.samples(name));
    }
    println!("{:?}", field.details);
    let (detected, missed) = field.trials("detected");
    assert!(detected >= 4 && missed == 0, "{:?}", field.details);
    assert_eq!(field.trials("unsuspected").1, 0, "{:?}", field.details);
    assert_eq!(field.trials("in_overlay").1, 0, "{:?}", field.details);
    field.every("end", json!(null));
}

#[test]
fn a_session_that_is_not_known_has_nothing_to_say() {
    let mut field = Field::new("membership", 1);
    field.every("settle", json!(null));
    assert!(field.samples("view_size").is_empty());
}
