//! Rules that no compiler knows.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::shell;

/// Past this a second idea hides in the file.
const LINES_MAX: usize = 600;

const DIRECTORIES: [&str; 3] = ["crates", "xtask", ".ci"];

/// What code must not contain, and why; comments may speak of it. Written in two
/// halves, or this file would break its own rule.
const FORBIDDEN: &[(&str, &str)] = &[
    (
        concat!("StrictHostKeyChecking", "=no"),
        "host keys are always checked",
    ),
    (
        concat!("StrictHostKeyChecking", " no"),
        "host keys are always checked",
    ),
    (concat!("pk", "ill"), "only processes of ours end, by id"),
    (concat!("kill", "all"), "only processes of ours end, by id"),
    (
        concat!("#[", "ignore"),
        "a test that cannot run fails loudly",
    ),
    (concat!("FIX", "ME"), "finish it or file it"),
    (concat!("TO", "DO"), "finish it or file it"),
];

/// Fails with every place that breaks a rule.
pub fn check() -> anyhow::Result<()> {
    let mut files = Vec::new();
    for directory in DIRECTORIES {
        collect(&shell::workspace().join(directory), &mut files)?;
    }
    let mut broken = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue; // not text, not source
        };
        let name = file.strip_prefix(shell::workspace()).unwrap_or(&file);
        broken.extend(problems(name, &text));
    }
    if !broken.is_empty() {
        bail!("\n{}", broken.join("\n"));
    }
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot list `{}`", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn problems(name: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let is_rust = name.extension().is_some_and(|e| e == "rs");
    let lines = text.lines().count();
    if is_rust && lines > LINES_MAX {
        problems.push(format!(
            "{}: {lines} lines, at most {LINES_MAX}: split it where its second idea begins",
            name.display()
        ));
    }
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("//") || line.starts_with('#') && !is_rust {
            continue;
        }
        for (needle, why) in FORBIDDEN {
            if line.contains(needle) {
                problems.push(format!(
                    "{}:{}: `{needle}`: {why}",
                    name.display(),
                    number + 1
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_words_are_found_in_code_and_allowed_in_comments() {
        let (needle, _) = FORBIDDEN[2];
        let code = format!("fn f() {{}}\nrun(\"{needle} x\");\n");
        let found = problems(Path::new("a.rs"), &code);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.rs:2: "), "{found:?}");
        assert!(problems(Path::new("a.rs"), &format!("// no {needle}\n")).is_empty());
        assert!(problems(Path::new("run"), &format!("# no {needle}\n")).is_empty());
    }

    #[test]
    fn a_long_file_is_two_files() {
        let long = "\n".repeat(LINES_MAX + 1);
        assert_eq!(problems(Path::new("a.rs"), &long).len(), 1);
        assert!(problems(Path::new("a.json"), &long).is_empty());
        assert!(problems(Path::new("a.rs"), &"\n".repeat(LINES_MAX)).is_empty());
    }
}
