//! The other projects' stacks on the twin of the request's ten hosts. What a stack is
//! worth is the proof's to say: here only that it is said, of every suite, from values
//! that were taken.

use crate::bed::{suites, trials};

/// At least so many trials of each rate, whatever they came to.
fn are_taken(project: &str, focus: &str, twin: &str, expected: &[(&str, usize)]) {
    let proof = suites(project, focus, twin);
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
    are_taken("saorsa-gossip", "full-suite", "t-start-gossip", &rates);
}

#[test]
fn communitas_mcp_is_judged_by_what_its_clients_measured() {
    let rates = [
        ("handshakes", 59),
        ("tools_valid", 1000),
        ("answered_right", 81),
        ("survived", 81),
        ("starts", 54),
        ("stops", 36),
        ("kept", 59),
        ("files_kept", 81),
        ("claimed_connected", 36),
        ("delivered", 72),
    ];
    are_taken("communitas-mcp", "full-suite", "t-start-communitas", &rates);
}

#[test]
fn saorsa_core_is_judged_by_what_its_peers_measured() {
    let rates = [
        ("checks", 100),
        ("joined", 9),
        ("found", 72),
        ("connected", 72),
        ("answered", 72),
        ("properties_hold", 9),
    ];
    are_taken("saorsa-core", "full-suite", "t-start-core", &rates);
}

/// One suite of four, that CI may end: its steps are those of the others too, but for
/// lookups, and for copies that come by themselves.
#[test]
fn saorsa_node_is_judged_by_what_its_nodes_measured() {
    let rates = [("stored", 36), ("kept", 36), ("refused", 27)];
    are_taken("saorsa-node", "storage", "t-start-node", &rates);
}
