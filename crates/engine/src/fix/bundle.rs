//! The failure bundle: a directory with a page that an engineer or an agent can
//! start from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use model::attempt::{Attempt, Counted, Outcome, Pair};
use model::event::{BuildProblem, Event, Plan};
use model::fix::{FailureKind, FixStep, FoundFailure, SourceTree};
use model::judge;
use model::run::Run;
use model::stats::Verdict;
use sha2::{Digest, Sha256};

use super::patterns::{self, Pattern};
use crate::evidence;
use crate::git::Repository;
use crate::run_dir::{RunDir, RunDirError};
use crate::steps::{Stage, StepError};

const PAGE: &str = "README.md";

/// Gathers everything, and says what was found.
pub async fn make(stage: &mut Stage<'_>) -> Result<FoundFailure, StepError> {
    let plan = stage.recorder.with(|run| run.plan.clone());
    let plan = plan.ok_or_else(|| StepError::Infrastructure("the run has no plan".into()))?;
    let name = stage.recorder.with(|run| format!("fix/{}", run.cycle));
    let directory = stage.dir.path().join(&name);
    std::fs::create_dir_all(directory.join("logs"))
        .map_err(|e| StepError::infrastructure(&RunDirError::of("create", &directory)(e)))?;
    let into = format!("{name}/logs");
    let logs = evidence::logs(stage.recorder, stage.dir, stage.live, &into).await;
    let logs = logs.map_err(|e| StepError::infrastructure(&e))?;
    let logs: Vec<String> = logs.into_iter().map(|file| file.path).collect();
    let found = stage.recorder.with(|run| look(run, &plan, &name));
    let diff = diff_since_last_pass(stage.recorder.with(|run| run.source.clone()), stage.dir);
    write(stage.dir, &format!("{name}/source.diff"), &diff.text)?;
    let patterns = patterns::group(
        read_logs(stage.dir, &logs)
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str())),
    );
    let page = stage.recorder.with(|run| {
        Page {
            run,
            plan: &plan,
            dir: stage.dir,
            found: &found,
            logs: &logs,
            patterns: &patterns,
            diff: &diff.about,
            protected: &stage.settings.config.fix.protected,
        }
        .render()
    });
    let json = serde_json::to_string_pretty(&found).unwrap_or_default();
    write(stage.dir, &format!("{name}/failure.json"), &json)?;
    write(stage.dir, &format!("{name}/{PAGE}"), &page)?;
    Ok(found)
}

/// What was tried so far, for the next one who tries.
pub fn write_tried(stage: &Stage<'_>, found: &FoundFailure) -> Result<(), StepError> {
    let text = stage.recorder.with(|run| {
        let mut out = "# What was tried before\n\n".to_owned();
        if run.fix_history.is_empty() {
            out.push_str("Nothing.\n");
        }
        for step in &run.fix_history {
            let _ = match step {
                FixStep::Tried(tried) => writeln!(
                    out,
                    "- attempt {}: {}: {}{}",
                    tried.number,
                    tried.outcome,
                    tried.detail,
                    tried
                        .diff
                        .as_ref()
                        .map_or(String::new(), |diff| format!(" (see ../../{diff})"))
                ),
                FixStep::Committed(fix) => {
                    writeln!(out, "- committed: {} ({})", fix.subject, fix.short_commit())
                }
            };
        }
        out
    });
    write(stage.dir, &format!("{}/tried.md", found.bundle), &text)
}

fn write(dir: &RunDir, name: &str, text: &str) -> Result<(), StepError> {
    dir.write(name, text)
        .map(drop)
        .map_err(|e| StepError::infrastructure(&e))
}

fn read_logs(dir: &RunDir, logs: &[String]) -> Vec<(String, String)> {
    let read = |log: &String| {
        let bytes = std::fs::read(dir.path().join(log)).unwrap_or_default();
        let name = log.rsplit('/').next().unwrap_or(log).to_owned();
        (name, String::from_utf8_lossy(&bytes).into_owned())
    };
    logs.iter().map(read).collect()
}

/// The attempts of the TEST that led here: FIX began a new cycle.
fn failing_test(run: &Run) -> Vec<&Attempt> {
    run.judged_attempts(run.cycle.saturating_sub(1), 0)
}

fn look(run: &Run, plan: &Plan, name: &str) -> FoundFailure {
    if let Some(detail) = &run.fix_cause {
        let errors = &run.build_errors;
        let words: Vec<String> = if errors.is_empty() {
            vec![last_line(detail)]
        } else {
            errors.iter().map(|e| e.message.clone()).collect()
        };
        return FoundFailure {
            kind: FailureKind::Build,
            headline: format!("the tester does not build: {}", words[0]),
            signature: signature("build", words.into_iter()),
            cells: Vec::new(),
            bundle: name.into(),
        };
    }
    let attempts = failing_test(run);
    let judgement = judge::judge(plan, &run.yielded(run.cycle.saturating_sub(1), 0));
    let refuted = judgement
        .criteria
        .iter()
        .filter(|c| c.verdict == Verdict::Fail);
    let reason = |pair: &Pair| {
        let failed = attempts.iter().find(|a| a.start.cell.pair == *pair);
        failed.map_or_else(String::new, |a| reason_of(a))
    };
    let dead = judgement
        .dead_cells
        .iter()
        .map(|pair| format!("{pair}: {}", reason(pair)));
    let words = refuted.map(|c| c.name.clone()).chain(dead);
    FoundFailure {
        kind: FailureKind::Test,
        signature: signature("test", words),
        headline: judgement.summary.clone(),
        cells: failing_cells(&attempts).into_keys().collect(),
        bundle: name.into(),
    }
}

/// Its kind alone: details hold ports and times.
fn reason_of(attempt: &Attempt) -> String {
    match &attempt.outcome {
        Outcome::StackFailure(failure) => format!("{:?}", failure.reason),
        Outcome::Success => "relayed".into(),
        Outcome::Infrastructure { .. } => String::new(),
    }
}

fn signature(kind: &str, words: impl Iterator<Item = String>) -> String {
    let words: BTreeSet<String> = words.collect();
    let mut hash = Sha256::new();
    hash.update(kind);
    for word in words {
        hash.update(word);
        hash.update("\n");
    }
    hex::encode(hash.finalize())[..16].to_owned()
}

/// A cell with failures.
#[derive(Default)]
struct FailingCell {
    failed: usize,
    attempts: usize,
    /// With their counts.
    reasons: BTreeMap<String, usize>,
}

fn failing_cells(attempts: &[&Attempt]) -> BTreeMap<String, FailingCell> {
    let mut cells: BTreeMap<String, FailingCell> = BTreeMap::new();
    for attempt in attempts {
        let cell = cells
            .entry(attempt.start.cell.pair.to_string())
            .or_default();
        cell.attempts += 1;
        if attempt.verdict() == Counted::Failure {
            cell.failed += 1;
            *cell.reasons.entry(why(attempt)).or_default() += 1;
        }
    }
    cells.retain(|_, cell| cell.failed > 0);
    cells
}

/// What the evidence says, and what the tester said where that is something else.
fn why(attempt: &Attempt) -> String {
    let why = judge::why(attempt).unwrap_or_default();
    match &attempt.outcome {
        Outcome::StackFailure(failure) if why != failure.to_string() => {
            format!("{why}; the tester says: {failure}")
        }
        _ => why,
    }
}

/// `src/main.rs:12:5`
fn place(error: &BuildProblem) -> String {
    let parts = [error.line, error.column].into_iter().flatten();
    let file = error.file.as_deref().unwrap_or("no file named");
    parts.fold(file.to_owned(), |place, part| format!("{place}:{part}"))
}

fn last_line(text: &str) -> String {
    text.lines().next_back().unwrap_or(text).trim().to_owned()
}

struct Diff {
    text: String,
    about: String,
}

/// Against the source of the newest run of this project that passed a TEST.
fn diff_since_last_pass(now: Option<SourceTree>, dir: &RunDir) -> Diff {
    let nothing = |about: &str| Diff {
        text: String::new(),
        about: about.to_owned(),
    };
    let Some(now) = now else {
        return nothing("unknown: the source is in no git repository");
    };
    let Some((run, then)) = last_pass(dir) else {
        return nothing("there is none: no run of this project has passed yet");
    };
    if then.repository != now.repository {
        return nothing("there is none: the last pass was of another repository");
    }
    if then.tree == now.tree {
        return nothing(&format!(
            "none: the source is what passed in {run}; look at hosts and networks"
        ));
    }
    let repository = Repository {
        top: now.repository.into(),
        prefix: Default::default(),
    };
    match repository.diff(&then.tree, &now.tree, &[]) {
        Ok(text) => Diff {
            text,
            about: format!("[source.diff](source.diff), against what passed in {run}"),
        },
        Err(error) => nothing(&format!("unknown: {error}")),
    }
}

/// Name of the run and source, this run included.
fn last_pass(dir: &RunDir) -> Option<(String, SourceTree)> {
    let parent = dir.path().parent()?;
    let mut runs: Vec<_> = std::fs::read_dir(parent)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("journal.jsonl").is_file() && !path.is_symlink())
        .collect();
    runs.sort();
    runs.iter().rev().find_map(|path| {
        let entries = crate::journal::read(&path.join("journal.jsonl")).ok()?;
        let mut source = None;
        let mut passed = None;
        for entry in entries {
            match entry.event {
                Event::SourceTaken(tree) => source = Some(tree),
                Event::Judged {
                    verdict: Verdict::Pass,
                    ..
                } => passed.clone_from(&source),
                _ => {}
            }
        }
        Some((path.file_name()?.to_string_lossy().into_owned(), passed?))
    })
}

struct Page<'a> {
    run: &'a Run,
    plan: &'a Plan,
    dir: &'a RunDir,
    found: &'a FoundFailure,
    logs: &'a [String],
    patterns: &'a [Pattern],
    diff: &'a str,
    protected: &'a [String],
}

impl Page<'_> {
    fn render(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "# {} failed: {}\n\n{}\n",
            self.plan.project,
            self.found.headline,
            match self.found.kind {
                FailureKind::Build => "The tester does not build. Nothing was tested.",
                FailureKind::Test =>
                    "Peers on hosts behind different NATs were to reach each other. Each NAT was measured \
                     before, and plain UDP connected every pair that theory calls possible; so these failures \
                     are the code's.",
            }
        );
        match self.found.kind {
            FailureKind::Build => self.build(&mut out),
            FailureKind::Test => self.cells(&mut out),
        }
        self.patterns(&mut out);
        self.evidence(&mut out);
        self.how_to_go_on(&mut out);
        out
    }

    fn build(&self, out: &mut String) {
        let detail = self.run.fix_cause.as_deref().unwrap_or_default();
        let _ = writeln!(out, "## Errors\n");
        for error in &self.run.build_errors {
            let _ = writeln!(out, "- `{}`: {}", place(error), error.message);
        }
        let _ = writeln!(out, "\n```text\n{detail}\n```\n");
    }

    fn cells(&self, out: &mut String) {
        let attempts = failing_test(self.run);
        let yielded = self.run.yielded(self.run.cycle.saturating_sub(1), 0);
        let judgement = judge::judge(self.plan, &yielded);
        let _ = writeln!(out, "## Criteria\n");
        for c in &judgement.criteria {
            let _ = writeln!(
                out,
                "- {}: {} of {} succeeded, target {}%: {} ({})",
                c.name, c.successes, c.attempts, c.target, c.verdict, c.reason
            );
        }
        let nat = |name: &str| {
            let node = self.plan.nodes.iter().find(|n| n.name.as_str() == name);
            node.and_then(|n| n.nat)
                .map_or_else(|| "public".to_owned(), model::nat::describe)
        };
        let _ = writeln!(
            out,
            "\n## Failing cells\n\n| caller → callee | NATs | failed | reasons |\n|---|---|---|---|"
        );
        for (pair, cell) in failing_cells(&attempts) {
            let (from, to) = pair.split_once(" → ").unwrap_or((&pair, ""));
            let reasons: Vec<String> = cell
                .reasons
                .iter()
                .map(|(why, count)| format!("{count} × {}", why.replace(['\n', '|'], " ")))
                .collect();
            let _ = writeln!(
                out,
                "| {pair} | {} → {} | {} of {} | {} |",
                nat(from),
                nat(to),
                cell.failed,
                cell.attempts,
                reasons.join("; ")
            );
        }
        out.push('\n');
    }

    fn patterns(&self, out: &mut String) {
        if self.patterns.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "## What logs complain of\n\n| count | logs | example |\n|---|---|---|"
        );
        for pattern in self.patterns {
            let logs: Vec<&str> = pattern.logs.iter().map(String::as_str).collect();
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                pattern.count,
                logs.join(", "),
                pattern.example.replace('|', "\\|")
            );
        }
        out.push('\n');
    }

    fn evidence(&self, out: &mut String) {
        let _ = writeln!(out, "## Evidence\n");
        let _ = writeln!(out, "- Change since the last pass: {}", self.diff);
        let _ = writeln!(
            out,
            "- Logs of all nodes: [logs/](logs/), {} files",
            self.logs.len()
        );
        let captures: Vec<String> = std::fs::read_dir(self.dir.path().join("captures"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        if !captures.is_empty() {
            let _ = writeln!(
                out,
                "- Packet captures in ../../captures/: {}",
                captures.join(", ")
            );
        }
        let _ = writeln!(
            out,
            "- Every attempt with its rungs, endpoints and counted bytes: ../../journal.jsonl\n\
             - What was tried before: [tried.md](tried.md)\n- The same for programs: [failure.json](failure.json)\n"
        );
    }

    fn how_to_go_on(&self, out: &mut String) {
        let plan = self.plan;
        let place = match plan.runs_on.split_once(' ') {
            Some(("fleet", file)) => format!("--fleet {file}"),
            Some((_, twin)) => format!("--twin {twin}"),
            None => String::new(),
        };
        let stack = plan.stack.as_ref();
        let stack = stack.map_or(String::new(), |s| {
            format!(" --stack {}={}", s.name, s.given)
        });
        let _ = writeln!(
            out,
            "## How to go on\n\n\
             Mend the cause, with as small a change as you can. These places say how a fix is judged, and a \
             change there is refused: {}.\n\n\
             - `vps-test fixed {project}` goes on with this run, from your own tree.\n\
             - `vps-test start {project} {} {} {} --yes --soak 0 {place}{stack}` tests once more from the beginning.",
            self.protected.join(", "),
            plan.focus,
            plan.criteria_mode,
            plan.proof_mode,
            project = plan.project,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_compiler_have_a_place() {
        let error = BuildProblem {
            message: "mismatched types".into(),
            code: Some("E0308".into()),
            file: Some("src/main.rs".into()),
            line: Some(12),
            column: Some(5),
            rendered: String::new(),
        };
        assert_eq!(place(&error), "src/main.rs:12:5");
    }

    #[test]
    fn a_signature_does_not_depend_on_order() {
        let of = |words: &[&str]| signature("test", words.iter().map(|w| (*w).to_owned()));
        assert_eq!(of(&["a", "b"]), of(&["b", "a", "b"]));
        assert_ne!(of(&["a"]), of(&["b"]));
    }
}
