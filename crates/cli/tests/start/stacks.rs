//! The other projects' stacks on the twin of the request's ten hosts. What a stack is
//! worth is the proof's to say: here only that it is said, of every suite, from values
//! that were taken.

use crate::bed::{full_suite, trials};

/// At least so many trials of each rate, whatever they came to.
fn are_taken(project: &str, twin: &str, expected: &[(&str, usize)]) {
    let proof = full_suite(project, twin);
    for (measure, at_least) in expected {
        let had = trials(&proof, measure);
        assert!(had >= *at_least, "{measure}: {had} trials");
    }
}

#[test]
fn saorsa_gossip_is_judged_by_what_its_peers_measured() {
    let rates = [
        ("delivered", 72),
        ("converged", 27),
        ("agreed", 108),
        ("in_overlay", 72),
        ("unsuspected", 72),
        ("detected", 10),
    ];
    are_taken("saorsa-gossip", "t-start-gossip", &rates);
}
