//! Files that are made from the code and kept in the repository.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::shell;

type Generated = (&'static str, fn() -> anyhow::Result<String>);

const FILES: &[Generated] = &[
    ("docs/proof.schema.json", schema),
    ("docs/metrics.md", || Ok(model::metrics::table())),
    ("docs/openapi.json", openapi),
];

/// Writes every generated file; with `check`, fails with all that differ.
pub fn run(check: bool) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (name, generate) in FILES {
        let path = shell::workspace().join(name);
        let wanted = generate()?;
        if check {
            if !is(&path, &wanted) {
                stale.push(format!("`{name}`"));
            }
        } else {
            std::fs::write(&path, wanted).with_context(|| format!("cannot write `{name}`"))?;
            eprintln!("gen: wrote {name}");
        }
    }
    if !stale.is_empty() {
        bail!("out of date: {}: run `cargo xtask gen`", stale.join(", "));
    }
    Ok(())
}

fn is(path: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|is| is == wanted)
}

fn schema() -> anyhow::Result<String> {
    let schema = schemars::schema_for!(model::proof::Proof);
    let text = serde_json::to_string_pretty(&schema).context("cannot write the schema as JSON")?;
    Ok(text + "\n")
}

/// The registry says it itself, so that this program need not link a server.
fn openapi() -> anyhow::Result<String> {
    let output = shell::capture(shell::cargo().args([
        "run",
        "--quiet",
        "--package",
        "registry",
        "--",
        "openapi",
    ]))?;
    Ok(String::from_utf8(output.stdout)?)
}
