//! A project's runs, a line each.

use std::fmt::Write;

use engine::ReplayError;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::compare::compare;
use model::run::Run;
use model::stats::Verdict;
use serde::Serialize;

use super::paint::{Paint, Style};
use super::summary::sign;
use super::time::{clock, span};

#[derive(Debug, Serialize)]
pub struct Row {
    pub run: String,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub focus: String,
    pub state: String,
    pub verdict: Option<Verdict>,
    /// `direct 72/72`
    pub criteria: Vec<String>,
    pub commit: Option<String>,
    /// Why the journal cannot be read.
    pub error: Option<String>,
}

impl Row {
    pub fn of(name: String, run: Result<Run, ReplayError>) -> Self {
        match run {
            Ok(run) => Self::read(name, &run),
            Err(error) => Self {
                run: name,
                started_at: None,
                ended_at: None,
                focus: String::new(),
                state: "unreadable".into(),
                verdict: None,
                criteria: Vec::new(),
                commit: None,
                error: Some(error.to_string()),
            },
        }
    }

    fn read(name: String, run: &Run) -> Self {
        // A run beside itself: the same numbers that `compare` shows.
        let comparison = compare(run, run);
        let criteria = comparison.criteria.iter().filter_map(|c| {
            let rate = c.after.as_ref()?;
            Some(format!("{} {}/{}", c.name, rate.successes, rate.attempts))
        });
        Self {
            run: name,
            started_at: run.started_at,
            ended_at: run.ended_at,
            focus: run.plan.as_ref().map_or(String::new(), |p| p.focus.clone()),
            criteria: criteria.collect(),
            state: comparison.after.state,
            verdict: comparison.after.verdict,
            commit: comparison.after.commit,
            error: None,
        }
    }
}

pub struct View<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    pub paint: Paint,
}

impl View<'_> {
    pub fn render(&self, rows: &[Row]) -> String {
        let mut out = String::new();
        for row in rows {
            let _ = writeln!(out, "{}", self.line(row).trim_end());
            if let Some(error) = &row.error {
                let _ = writeln!(out, "    {error}");
            }
        }
        out
    }

    /// `✓ 20260102T115400Z  2026-01-02 11:54:00  7 h 5 min  PASS  connectivity  direct 72/72`
    fn line(&self, row: &Row) -> String {
        let (glyph, style) = row.verdict.map_or(("·", Style::Dim), sign);
        let began = row
            .started_at
            .map_or(String::new(), |at| clock(at, self.now, self.zone));
        let took = match (row.started_at, row.ended_at) {
            (Some(from), Some(to)) => span(to.duration_since(from)),
            _ => "not ended".into(),
        };
        let verdict = row
            .verdict
            .map_or("no verdict".to_owned(), |v| v.to_string());
        let commit = row.commit.as_deref().map_or(String::new(), |commit| {
            format!("  {}", commit.chars().take(12).collect::<String>())
        });
        format!(
            "{} {:<18} {began:<19}  {took:<10} {:<11} {verdict:<12} {:<13} {}{commit}",
            self.paint.text(style, glyph),
            row.run,
            row.state,
            row.focus,
            row.criteria.join(", "),
        )
    }
}
