//! The main job: the real ant-quic, on the twin of the request's ten hosts.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bed::{BINARY, criterion, ran};

const TWIN: &str = "t-start-saorsa";

#[test]
fn ant_quic_connects_across_the_saorsa_fleet() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    let state = tempfile::tempdir().unwrap();
    let words = [
        "start",
        "ant-quic",
        "connectivity",
        "threshold",
        "all-evidence",
        "--yes",
        "--soak",
        "0",
        "--twin",
        TWIN,
        "--cross-check",
    ];
    let output = Command::new(BINARY)
        .args(words)
        .current_dir(workspace)
        .env("VPS_TEST_STATE_DIR", state.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = ran(&output);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);

    let proof = std::fs::read_to_string(state.path().join("ant-quic/latest/proof.json")).unwrap();
    let proof: Value = serde_json::from_str(&proof).unwrap();
    assert_eq!(proof["verdict"], "PASS");
    for (name, clean) in [("direct", 72), ("nat_traversed", 24), ("relay", 58)] {
        let attempts = criterion(&proof, name)["attempts"].as_u64().unwrap();
        assert!(attempts >= clean, "{name}: {attempts}");
    }
    let cells = proof["matrix"].as_array().unwrap();
    let count = |observed: &str| {
        cells
            .iter()
            .filter(|cell| cell["observed"] == observed)
            .count()
    };
    assert_eq!(
        (cells.len(), count("direct"), count("relayed")),
        (72, 70, 2)
    );
    let category = |name: &str| cells.iter().filter(|cell| cell["category"] == name).count();
    assert_eq!(
        (
            category("direct"),
            category("nat_traversed"),
            category("relay")
        ),
        (40, 30, 2)
    );

    // Direct, relayed, and through whom: twice counted, and the same.
    crate::result::both_counts_agree(&proof);

    let left = Command::new(BINARY)
        .args(["lab", "status", "--name", TWIN])
        .output()
        .unwrap();
    assert!(
        !left.status.success(),
        "a twin that was booted for the run goes with it"
    );
}
