//! Tells the tester which ant-quic it links: the stack has no constant for it.

include!("../agent/stack_version.rs");

fn main() {
    export_stack_version("ant-quic", "ANT_QUIC_VERSION");
}
