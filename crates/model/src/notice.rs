//! What people are told of a run, in a line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{Entry, Event, StopCause};
use crate::fix::FixedBy;
use crate::run::Run;
use crate::stats::Verdict;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    Start,
    FirstFailure,
    FixCommitted,
    Wait,
    Complete,
    Critical,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub kind: NoticeKind,
    /// To be read aloud or shown.
    pub text: String,
    pub project: String,
    pub state: String,
    pub at: Timestamp,
    /// The run's directory.
    pub run: String,
}

/// `None` for what nobody need be told. `run` is as it is after the entry.
pub fn of(entry: &Entry, run: &Run, run_dir: &str) -> Option<Notice> {
    let (kind, text) = words(entry, run)?;
    let project = run.plan.as_ref()?.project.clone();
    Some(Notice {
        kind,
        text: format!("{project}: {text}"),
        project,
        state: run.state.to_string(),
        at: entry.at,
        run: run_dir.to_owned(),
    })
}

fn words(entry: &Entry, run: &Run) -> Option<(NoticeKind, String)> {
    Some(match &entry.event {
        Event::Confirmed(plan) => (
            NoticeKind::Start,
            format!("{} test begins on {}", plan.focus, plan.runs_on),
        ),
        Event::BuildFailed { .. } if run.failures == 1 => {
            (NoticeKind::FirstFailure, "the tester does not build".into())
        }
        Event::Judged {
            verdict: Verdict::Fail,
            summary,
            ..
        } if run.failures == 1 => (NoticeKind::FirstFailure, format!("test failed, {summary}")),
        Event::FixCommitted(fix) => {
            let by = match fix.by {
                FixedBy::Command => "fix committed",
                FixedBy::Hand => "fixed by hand",
            };
            let commit = fix.short_commit();
            (
                NoticeKind::FixCommitted,
                format!("{by}, {}, {commit}", fix.subject),
            )
        }
        Event::WaitBegan { state, until } => (NoticeKind::Wait, format!("{state} until {until}")),
        Event::Completed => {
            let fixes = match run.fixes().count() {
                0 => String::new(),
                1 => ", with 1 fix".into(),
                n => format!(", with {n} fixes"),
            };
            let summary = run.judgement.as_deref().unwrap_or("all criteria proved");
            (
                NoticeKind::Complete,
                format!(
                    "COMPLETE, {summary}, after {} tests{fixes}",
                    run.verdicts.len()
                ),
            )
        }
        // Whoever asked for it knows.
        Event::Stopped {
            cause: StopCause::Requested,
            ..
        } => return None,
        Event::Stopped { detail, .. } => (
            NoticeKind::Critical,
            format!("stopped in {}, {detail}", run.state),
        ),
        _ => return None,
    })
}
