//! saorsa-node on the twin of the request's ten hosts.

use crate::bed::full_suite;

/// As of saorsa-core: that every suite was measured, not what came of it.
#[test]
fn saorsa_node_is_measured_on_the_saorsa_fleet() {
    let proof = full_suite("saorsa-node", "t-start-node");
    for (measure, trials) in [
        ("healthy", 59),
        ("stored", 59),
        ("refused", 27),
        ("retrieved", 144),
        ("synced", 1),
    ] {
        let had = crate::bed::trials(&proof, measure);
        assert!(had >= trials, "{measure}: {had} trials");
    }
}
