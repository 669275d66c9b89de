//! saorsa-core on the twin of the request's ten hosts.

use crate::bed::full_suite;

/// What the stack is worth is the proof's to say: here only that it is said, of every
/// suite, from what was measured.
#[test]
fn saorsa_core_is_measured_on_the_saorsa_fleet() {
    let proof = full_suite("saorsa-core", "t-start-core");
    for (measure, trials) in [
        ("checks", 100),
        ("joined", 9),
        ("found", 72),
        ("connected", 72),
        ("answered", 72),
        ("properties_hold", 59),
    ] {
        let had = crate::bed::trials(&proof, measure);
        assert!(had >= trials, "{measure}: {had} trials");
    }
}
