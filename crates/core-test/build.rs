//! Tells the tester which saorsa-core it links: the stack has no constant for it.

include!("../agent/stack_version.rs");

fn main() {
    export_stack_version("saorsa-core", "SAORSA_CORE_VERSION");
}
