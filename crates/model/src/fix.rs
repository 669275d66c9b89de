//! The fix loop as data: what failed, what was tried, whether to try again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::run::Run;

/// How many fixes in a row may lead to a tester that does not build.
pub const BUILD_CYCLES: u32 = 3;

/// How many attempts one and the same failure is worth.
pub const SAME_FAILURE: usize = 2;

/// The source that a build was made from, uncommitted changes included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceTree {
    /// Top of the repository's work tree.
    pub repository: String,
    /// `None` before the first commit.
    pub commit: Option<String>,
    /// git's name of the tree as it was built.
    pub tree: String,
    /// It is not the commit's tree.
    pub dirty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    Build,
    Test,
}

/// What led into FIX.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundFailure {
    pub kind: FailureKind,
    /// The same for two failures that look the same.
    pub signature: String,
    /// In a line.
    pub headline: String,
    /// Failing cells: `cone → port`.
    pub cells: Vec<String>,
    /// The bundle's directory, relative to the run's.
    pub bundle: String,
}

/// A fix that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixTried {
    pub number: u32,
    pub signature: String,
    pub outcome: FixOutcome,
    pub detail: String,
    /// What it would have changed, relative to the run's directory.
    pub diff: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixOutcome {
    /// The guard did not let it pass.
    Refused,
    TestsFailed,
    NothingChanged,
    CommandFailed,
}

impl std::fmt::Display for FixOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Refused => "refused",
            Self::TestsFailed => "its local tests failed",
            Self::NothingChanged => "nothing was changed",
            Self::CommandFailed => "the command failed",
        })
    }
}

/// A fix that is built next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FixCommit {
    pub signature: String,
    pub by: FixedBy,
    pub repository: String,
    /// `None` where a person works.
    pub branch: Option<String>,
    /// `None` for changes of a person that are not committed.
    pub commit: Option<String>,
    pub subject: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixedBy {
    Command,
    Hand,
}

/// What FIX does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FixDecision {
    Try { number: u32 },
    GiveUp { why: String },
}

/// What it was for, and what became of it.
struct Attempt<'a> {
    signature: &'a str,
    words: String,
}

impl Run {
    /// Whether the failure at hand is worth another automatic attempt.
    pub fn decide_fix(&self, failure: &FoundFailure, max_attempts: u32) -> FixDecision {
        let attempts = self.fix_attempts();
        let same = attempts.iter().filter(|a| a.signature == failure.signature);
        let made = attempts.len();
        let why = if same.count() >= SAME_FAILURE {
            format!("{SAME_FAILURE} attempts left the same failure")
        } else if made >= max_attempts as usize {
            format!("{made} attempts were made, as many as fix.max_attempts allows")
        } else if failure.kind == FailureKind::Build && self.build_cycles > BUILD_CYCLES {
            format!("it did not build after {BUILD_CYCLES} fixes")
        } else {
            let number = u32::try_from(self.fix_history.len() + 1).unwrap_or(u32::MAX);
            return FixDecision::Try { number };
        };
        let tried: Vec<&str> = attempts.iter().map(|a| a.words.as_str()).collect();
        let why = if tried.is_empty() {
            why
        } else {
            format!("{why}; tried: {}", tried.join("; "))
        };
        FixDecision::GiveUp { why }
    }

    /// The fix that the next build is made from; `None` for the user's own tree.
    pub fn standing_fix(&self) -> Option<&FixCommit> {
        match self.fixes().last() {
            Some(fix) if fix.by == FixedBy::Command => Some(fix),
            _ => None,
        }
    }

    /// Everything that was committed in FIX, in order.
    pub fn fixes(&self) -> impl Iterator<Item = &FixCommit> {
        self.fix_history.iter().filter_map(|step| match step {
            FixStep::Committed(fix) => Some(fix),
            FixStep::Tried(_) => None,
        })
    }

    /// Since a person last took part.
    fn fix_attempts(&self) -> Vec<Attempt<'_>> {
        let mut attempts: Vec<Attempt<'_>> = Vec::new();
        for step in &self.fix_history {
            match step {
                FixStep::Tried(tried) => attempts.push(Attempt {
                    signature: &tried.signature,
                    words: format!(
                        "{}: {}",
                        tried.outcome,
                        tried.detail.lines().next().unwrap_or_default()
                    ),
                }),
                FixStep::Committed(fix) if fix.by == FixedBy::Hand => attempts.clear(),
                FixStep::Committed(fix) => attempts.push(Attempt {
                    signature: &fix.signature,
                    words: format!("{} ({})", fix.subject, fix.short_commit()),
                }),
            }
        }
        attempts
    }
}

/// One entry of the history of a run's fixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FixStep {
    Tried(FixTried),
    Committed(FixCommit),
}

impl FixCommit {
    /// As it is shown to a person.
    pub fn short_commit(&self) -> &str {
        let commit = self.commit.as_deref().unwrap_or("not committed");
        commit
            .get(..12)
            .filter(|_| self.commit.is_some())
            .unwrap_or(commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: FailureKind, signature: &str) -> FoundFailure {
        FoundFailure {
            kind,
            signature: signature.into(),
            headline: "it fails".into(),
            cells: Vec::new(),
            bundle: "fix/1".into(),
        }
    }

    fn tried(signature: &str) -> FixStep {
        FixStep::Tried(FixTried {
            number: 1,
            signature: signature.into(),
            outcome: FixOutcome::Refused,
            detail: "it changes vps-test.yaml".into(),
            diff: None,
        })
    }

    fn committed(signature: &str, by: FixedBy) -> FixStep {
        FixStep::Committed(FixCommit {
            signature: signature.into(),
            by,
            repository: "/r".into(),
            branch: None,
            commit: Some("0123456789abcdef".into()),
            subject: "Bind all".into(),
        })
    }

    fn decide(history: Vec<FixStep>, signature: &str) -> FixDecision {
        let run = Run {
            fix_history: history,
            ..Run::default()
        };
        run.decide_fix(&failure(FailureKind::Test, signature), 3)
    }

    #[test]
    fn two_attempts_at_one_failure_are_enough() {
        assert_eq!(decide(vec![], "a"), FixDecision::Try { number: 1 });
        assert_eq!(
            decide(vec![tried("a")], "a"),
            FixDecision::Try { number: 2 }
        );
        let history = vec![tried("a"), committed("a", FixedBy::Command)];
        let FixDecision::GiveUp { why } = decide(history.clone(), "a") else {
            panic!("it goes on");
        };
        for part in [
            "the same failure",
            "vps-test.yaml",
            "Bind all (0123456789ab)",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
        assert_eq!(decide(history, "b"), FixDecision::Try { number: 3 });
    }

    #[test]
    fn attempts_are_bounded_until_a_person_takes_part() {
        let three = vec![tried("a"), tried("b"), tried("c")];
        assert!(matches!(
            decide(three.clone(), "d"),
            FixDecision::GiveUp { .. }
        ));
        let helped = [three, vec![committed("c", FixedBy::Hand)]].concat();
        assert_eq!(decide(helped, "d"), FixDecision::Try { number: 5 });
    }

    #[test]
    fn a_tester_that_does_not_build_is_mended_three_times() {
        let failing = failure(FailureKind::Build, "x");
        let after = |build_cycles| Run {
            build_cycles,
            ..Run::default()
        };
        assert_eq!(
            after(3).decide_fix(&failing, 9),
            FixDecision::Try { number: 1 }
        );
        let FixDecision::GiveUp { why } = after(4).decide_fix(&failing, 9) else {
            panic!("it goes on");
        };
        assert_eq!(why, "it did not build after 3 fixes");
    }
}
