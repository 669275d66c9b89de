//! Tells the tester which saorsa-gossip it links: the stack has no constant for it. Its crates are released together.

include!("../agent/stack_version.rs");

fn main() {
    export_stack_version("saorsa-gossip-pubsub", "SAORSA_GOSSIP_VERSION");
}
