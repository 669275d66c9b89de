//! Tells the tester which saorsa-node it links: the stack has no constant for it.

include!("../agent/stack_version.rs");

fn main() {
    export_stack_version("saorsa-node", "SAORSA_NODE_VERSION");
}
