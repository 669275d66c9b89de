//! Files that are made from the code and kept in the repository.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use model::config::ConfigFile;
use model::suite::{Suite, built_in, throughput};

use crate::shell;

/// A file, and what is to be in it. What it has now comes in: some are made in part.
type Maker = fn(&str) -> anyhow::Result<String>;

const FILES: [(&str, Maker); 4] = [
    ("docs/proof.schema.json", |_| schema()),
    ("docs/measures.md", measures),
    ("docs/metrics.md", |_| Ok(model::metrics::table())),
    ("docs/openapi.json", |_| openapi()),
];

/// Writes every generated file; with `check`, fails with all that differ.
pub fn run(check: bool) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (file, make) in FILES {
        let path = shell::workspace().join(file);
        let is = std::fs::read_to_string(&path).unwrap_or_default();
        let wanted = make(&is)?;
        if !check {
            std::fs::write(&path, wanted).with_context(|| format!("cannot write `{file}`"))?;
            eprintln!("gen: wrote {file}");
        } else if is != wanted {
            stale.push(format!("`{file}`"));
        }
    }
    if !stale.is_empty() {
        bail!("out of date: {}: run `cargo xtask gen`", stale.join(", "));
    }
    Ok(())
}

fn schema() -> anyhow::Result<String> {
    let schema = schemars::schema_for!(model::proof::Proof);
    let text = serde_json::to_string_pretty(&schema).context("cannot write the schema as JSON")?;
    Ok(text + "\n")
}

/// What follows this line is made from the suites' definitions.
const FROM_HERE: &str = "<!-- From here on: `cargo xtask gen` -->";

fn measures(is: &str) -> anyhow::Result<String> {
    let (by_hand, _) = is
        .split_once(FROM_HERE)
        .with_context(|| format!("docs/measures.md has no line `{FROM_HERE}`"))?;
    let mut text = format!("{by_hand}{FROM_HERE}\n");
    let defaults = ConfigFile::defaults().map_err(|e| anyhow::anyhow!("{e}"))?;
    let declared = defaults.config.suites.iter();
    let declared = declared.map(|(name, suite)| suite.named(name));
    let load = throughput(defaults.config.tests.throughput.clone());
    for suite in built_in().into_iter().chain([load]).chain(declared) {
        table(&mut text, &suite)?;
    }
    Ok(text)
}

fn table(text: &mut String, suite: &Suite) -> anyhow::Result<()> {
    writeln!(text, "\n## `{}`\n\n{}.\n", suite.name, suite.does)?;
    writeln!(
        text,
        "| measure | unit | better | how it is taken | what it cannot see |"
    )?;
    writeln!(text, "|---|---|---|---|---|")?;
    for m in &suite.measures {
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            m.name, m.unit, m.better, m.how, m.blind
        )?;
    }
    Ok(())
}

/// The registry says it itself, so that this program need not link a server. It is
/// built as a member of the workspace: alone, it would be compiled a second time.
fn openapi() -> anyhow::Result<String> {
    const REGISTRY: &str = "vps-test-registry";
    let mut build = shell::cargo();
    build.args(["build", "--quiet", "--workspace", "--bin", REGISTRY]);
    shell::capture(&mut build)?;
    let program = shell::target_directory()?.join("debug").join(REGISTRY);
    let output = shell::capture(Command::new(program).arg("openapi"))?;
    Ok(String::from_utf8(output.stdout)?)
}
