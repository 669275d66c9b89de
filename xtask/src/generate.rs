//! Files that are made from the code and kept in the repository.

use anyhow::{Context as _, bail};

use crate::shell;

const SCHEMA: &str = "docs/proof.schema.json";

/// Writes every generated file; with `check`, fails where one differs.
pub fn run(check: bool) -> anyhow::Result<()> {
    let path = shell::workspace().join(SCHEMA);
    let wanted = schema()?;
    if !check {
        std::fs::write(&path, wanted).with_context(|| format!("cannot write `{SCHEMA}`"))?;
        eprintln!("gen: wrote {SCHEMA}");
        return Ok(());
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    if is != wanted {
        bail!("`{SCHEMA}` is out of date: run `cargo xtask gen`");
    }
    Ok(())
}

fn schema() -> anyhow::Result<String> {
    let schema = schemars::schema_for!(model::proof::Proof);
    let text = serde_json::to_string_pretty(&schema).context("cannot write the schema as JSON")?;
    Ok(text + "\n")
}
