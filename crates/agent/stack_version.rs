// Included by the build scripts of testers whose stack has no constant for its version.

use std::path::Path;

/// Sets `variable` for the compiler to the version of `package` that is locked.
fn export_stack_version(package: &str, variable: &str) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Of the workspace that the tester is in.
    let lock = own
        .ancestors()
        .map(|dir| dir.join("Cargo.lock"))
        .find(|lock| lock.is_file())
        .unwrap_or_else(|| panic!("no Cargo.lock at or above {}", own.display()));
    println!("cargo:rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(&lock)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", lock.display()));
    let version = text
        .split("[[package]]")
        .find(|entry| entry.contains(&format!("name = \"{package}\"\n")))
        .and_then(|entry| entry.lines().find_map(|l| l.strip_prefix("version = ")))
        .unwrap_or_else(|| panic!("{} has no {package}", lock.display()));
    println!("cargo:rustc-env={variable}={}", version.trim_matches('"'));
}
