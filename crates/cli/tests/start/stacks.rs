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

#[test]
fn communitas_mcp_is_judged_by_what_its_clients_measured() {
    let rates = [
        ("handshakes", 59),
        ("tools_valid", 1000),
        ("answered_right", 81),
        ("survived", 81),
        ("starts", 59),
        ("stops", 36),
        ("kept", 59),
        ("files_kept", 81),
        ("claimed_connected", 36),
        ("delivered", 72),
    ];
    are_taken("communitas-mcp", "t-start-communitas", &rates);
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
    are_taken("saorsa-core", "t-start-core", &rates);
}

#[test]
fn saorsa_node_is_judged_by_what_its_nodes_measured() {
    let rates = [
        ("node_up", 9),
        ("known", 72),
        ("healthy", 72),
        ("closest_found", 27),
        ("synced", 1),
        ("stored", 100),
        ("kept", 72),
        ("refused", 27),
        ("retrieved", 144),
    ];
    are_taken("saorsa-node", "t-start-node", &rates);
}
