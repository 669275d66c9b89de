//! Licences, bans and sources of everything that is linked, by deny.toml.
//!
//! The same file and the same expression parser that `cargo deny check licenses
//! bans sources` uses, without the program: it would take minutes to install.
//! Advisories need its database, and therefore the network and `cargo deny`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::shell;

const FILE: &str = "deny.toml";

#[derive(Debug, Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// A licence that only one crate may have.
#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    #[serde(default)]
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for the workspace's own.
    source: Option<String>,
}

/// Fails with every package that breaks the policy of the workspace that links it.
pub fn check() -> anyhow::Result<()> {
    let apart = shell::APART.iter().map(|(folder, _)| *folder);
    let mut problems = BTreeSet::new();
    for folder in ["."].into_iter().chain(apart) {
        problems.extend(problems_of(folder)?);
    }
    if !problems.is_empty() {
        let problems: Vec<_> = problems.into_iter().collect();
        bail!("\n{}", problems.join("\n"));
    }
    Ok(())
}

/// Each workspace has a policy of its own beside its manifest.
fn problems_of(folder: &str) -> anyhow::Result<Vec<String>> {
    let file = Path::new(folder).join(FILE);
    let cannot = |what: &str| format!("cannot {what} `{}`", file.display());
    let text =
        std::fs::read_to_string(shell::workspace().join(&file)).with_context(|| cannot("read"))?;
    let policy: Policy = toml::from_str(&text).with_context(|| cannot("parse"))?;
    let manifest = format!("{folder}/Cargo.toml");
    let output = shell::capture(shell::cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--manifest-path",
        &manifest,
    ]))?;
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cannot read `cargo metadata`")?;
    let packages = metadata.packages.iter();
    let problems = packages.flat_map(|package| problems(&policy, package));
    Ok(problems
        .map(|problem| format!("{manifest}: {problem}"))
        .collect())
}

fn problems(policy: &Policy, package: &Package) -> Vec<String> {
    [
        licence(policy, package),
        banned(policy, package),
        source(policy, package),
    ]
    .into_iter()
    .flatten()
    .map(|problem| format!("{} {}: {problem}", package.name, package.version))
    .collect()
}

fn licence(policy: &Policy, package: &Package) -> Option<String> {
    let Some(written) = &package.license else {
        return Some("states no licence".into());
    };
    // Older crates write `MIT/Apache-2.0`.
    let Ok(expression) = Expression::parse_mode(written, ParseMode::LAX) else {
        return Some(format!("`{written}` is no SPDX expression"));
    };
    let exceptions = policy
        .licenses
        .exceptions
        .iter()
        .filter(|exception| exception.name == package.name)
        .flat_map(|exception| &exception.allow);
    let allowed: Vec<&String> = policy.licenses.allow.iter().chain(exceptions).collect();
    let holds = expression.evaluate(|requirement| {
        let wanted = requirement.to_string();
        allowed.iter().any(|licence| **licence == wanted)
    });
    (!holds).then(|| format!("its licence `{written}` is not allowed by `{FILE}`"))
}

fn banned(policy: &Policy, package: &Package) -> Option<String> {
    let ban = policy
        .bans
        .deny
        .iter()
        .find(|ban| ban.name == package.name)?;
    Some(format!("is banned: {}", ban.reason))
}

fn source(policy: &Policy, package: &Package) -> Option<String> {
    let source = package.source.as_ref()?;
    let allowed = source
        .strip_prefix("registry+")
        .is_some_and(|registry| policy.sources.allow_registry.iter().any(|a| a == registry));
    (!allowed).then(|| format!("comes from `{source}`, which `{FILE}` does not allow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

    fn policy() -> Policy {
        toml::from_str(
            r#"
            [licenses]
            allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
            exceptions = [{ crate = "roots", allow = ["CDLA-Permissive-2.0"] }]
            [bans]
            deny = [{ crate = "bad", reason = "it is" }]
            [sources]
            allow-registry = ["https://github.com/rust-lang/crates.io-index"]
            "#,
        )
        .unwrap()
    }

    fn found(name: &str, license: Option<&str>, source: Option<&str>) -> Vec<String> {
        let package = Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        problems(&policy(), &package)
    }

    #[test]
    fn a_choice_needs_one_allowed_licence_and_a_conjunction_all() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR GPL-2.0-only) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(found("a", Some(good), Some(CRATES_IO)).is_empty(), "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "my own"] {
            assert_eq!(found("a", Some(bad), Some(CRATES_IO)).len(), 1, "{bad}");
        }
        assert_eq!(found("a", None, None).len(), 1);
    }

    #[test]
    fn an_exception_is_for_one_crate() {
        assert!(found("roots", Some("CDLA-Permissive-2.0"), None).is_empty());
        assert_eq!(found("other", Some("CDLA-Permissive-2.0"), None).len(), 1);
    }

    #[test]
    fn bans_and_strange_sources_are_named() {
        assert!(found("bad", Some("MIT"), None)[0].contains("banned: it is"));
        let git = "git+https://example.org/x#abc";
        assert!(found("a", Some("MIT"), Some(git))[0].contains(git));
        let path = found("a", Some("MIT"), None);
        assert!(path.is_empty());
    }
}
