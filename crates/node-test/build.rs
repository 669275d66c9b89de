//! Tells the tester which ant-node it links: the stack has no constant for it.

use std::path::Path;

fn main() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    println!("cargo:rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(&lock)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", lock.display()));
    let version = text
        .split("[[package]]")
        .find(|package| package.contains("name = \"ant-node\"\n"))
        .and_then(|package| package.lines().find_map(|l| l.strip_prefix("version = ")))
        .unwrap_or_else(|| panic!("{} has no ant-node", lock.display()));
    println!(
        "cargo:rustc-env=ANT_NODE_VERSION={}",
        version.trim_matches('"')
    );
}
