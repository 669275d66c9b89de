//! The documents of a run directory against what its journal gives.

use model::proof::Proof;
use serde_json::Value;

use super::{Check, VerifyError};
use crate::documents::{Document, render};
use crate::evidence;
use crate::run_dir::RunDir;

/// More differences than these do not help anybody.
const NAMED: usize = 12;

/// Printed figures may differ in their last digit between machines.
const TOLERANCE: f64 = 1e-9;

pub fn compare(dir: &RunDir, proof: &Proof) -> Result<Vec<Check>, VerifyError> {
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = proof.plan.harness_version.as_str();
    let mut checks = Vec::new();
    for due in render(proof) {
        let name = name_of(&due.path);
        let check = match std::fs::read_to_string(dir.path().join(&due.path)) {
            Err(_) => Check::new(name, "missing", vec![format!("{} is missing", due.path)]),
            Ok(text) if name == "proof.json" => json(&due, &text),
            // Another version may write it in other words.
            Ok(_) if theirs != ours => Check::absent(
                name,
                format!("not compared: version {theirs} wrote it, this is {ours}"),
            ),
            Ok(text) => {
                let mut problems = difference(&due, &text);
                if !problems.is_empty()
                    && evidence::own_digest() != proof.environment.harness_sha256
                {
                    problems.push(
                        "another build of this version wrote it, which may use other words".into(),
                    );
                }
                Check::new(name, "is what the journal gives", problems)
            }
        };
        checks.push(check);
    }
    checks.extend(strangers(dir, proof)?);
    Ok(checks)
}

fn name_of(path: &str) -> &'static str {
    match path {
        "proof.json" => "proof.json",
        "proof.html" => "proof.html",
        "junit.xml" => "junit.xml",
        _ => "proof.md",
    }
}

/// A `proof-TIME.md` of another time is of no end that this journal has.
fn strangers(dir: &RunDir, proof: &Proof) -> Result<Option<Check>, VerifyError> {
    let due: Vec<String> = render(proof).into_iter().map(|d| d.path).collect();
    let mut others = dir.proofs()?;
    others.retain(|path| !due.contains(path));
    let problems: Vec<String> = others
        .iter()
        .map(|path| format!("{path} is not of this journal's end"))
        .collect();
    Ok((!problems.is_empty()).then(|| Check::new("proof.md", "of another end", problems)))
}

fn difference(due: &Document, text: &str) -> Vec<String> {
    if due.text == text {
        return Vec::new();
    }
    let (mut ours, mut theirs) = (due.text.lines(), text.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (ours.next(), theirs.next()) {
            (None, None) => return vec![format!("{} differs in its line ends", due.path)],
            (a, b) if a == b => {}
            (a, b) => {
                return vec![format!(
                    "{} line {number} says `{}`, the journal gives `{}`",
                    due.path,
                    excerpt(b),
                    excerpt(a)
                )];
            }
        }
    }
}

fn excerpt(line: Option<&str>) -> String {
    line.unwrap_or("nothing").chars().take(100).collect()
}

fn json(due: &Document, text: &str) -> Check {
    let mut problems = Vec::new();
    match (serde_json::from_str(text), serde_json::from_str(&due.text)) {
        (Ok(theirs), Ok(ours)) => differences("", &theirs, &ours, &mut problems),
        (Err(error), _) | (_, Err(error)) => {
            problems.push(format!("proof.json is no JSON: {error}"))
        }
    }
    let all = problems.len();
    problems.truncate(NAMED);
    if all > NAMED {
        problems.push(format!("and {} more", all - NAMED));
    }
    Check::new(
        "proof.json",
        "every field is what the journal gives",
        problems,
    )
}

fn differences(path: &str, theirs: &Value, ours: &Value, problems: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in b {
                let theirs = a.get(name).unwrap_or(&Value::Null);
                differences(&format!("{path}.{name}"), theirs, value, problems);
            }
            for name in a.keys().filter(|name| !b.contains_key(*name)) {
                problems.push(format!(
                    "proof.json has {path}.{name}, which the journal does not give"
                ));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (theirs, ours)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), theirs, ours, problems);
            }
        }
        (Value::Array(a), Value::Array(b)) => problems.push(format!(
            "proof.json has {} in {path}, the journal gives {}",
            a.len(),
            b.len()
        )),
        (a, b) if same(a, b) => {}
        (a, b) => problems.push(format!(
            "proof.json says {} in {path}, the journal gives {}",
            excerpt(Some(&a.to_string())),
            excerpt(Some(&b.to_string()))
        )),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0),
        _ => a == b,
    }
}
