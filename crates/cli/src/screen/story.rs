//! What a run did, a line for everything that a reader would tell.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::attempt::{Attempt, Counted, Matrix};
use model::event::{BuildProblem, Entry, Event};
use model::judge::{agrees_with_theory, why};
use model::run::{Run, State};

use super::paint::{Paint, Style};
use super::summary::{first_line, sign};
use super::time::{clock, span};

/// Which attempts are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    Failed,
    All,
}

pub struct Story<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    pub paint: Paint,
    pub attempts: Attempts,
}

impl Story<'_> {
    /// `None` of what nobody would tell. `run` stands as after the entry.
    pub fn line(&self, entry: &Entry, run: &Run) -> Option<String> {
        let (sign, style, words) = self.tell(&entry.event, run)?;
        let time = clock(entry.at, self.now, self.zone);
        Some(format!(
            "{}  {} {words}",
            self.paint.text(Style::Dim, &time),
            self.paint.text(style, sign)
        ))
    }

    fn tell(&self, event: &Event, run: &Run) -> Option<(&'static str, Style, String)> {
        let note = |words: String| Some(("·", Style::Dim, words));
        let good = |words: String| Some(("✓", Style::Good, words));
        let bad = |words: String| Some(("✗", Style::Bad, words));
        let warn = |words: String| Some(("!", Style::Warn, words));
        match event {
            Event::Confirmed(plan) => note(format!(
                "{} {} {} {}, on {}",
                plan.project, plan.focus, plan.criteria_mode, plan.proof_mode, plan.runs_on
            )),
            Event::Entered { state } => Some(("▸", Style::Strong, state.to_string())),
            Event::NodeDegraded { node, reason } => {
                warn(format!("{node} is degraded: {}", first_line(reason)))
            }
            Event::Built(build) => good(format!(
                "built {}, {:.1} MB in {:.1} s, {}",
                build.binary,
                build.bytes as f64 / 1e6,
                build.seconds,
                short(&build.sha256)
            )),
            Event::BuildFailed {
                module,
                detail,
                errors,
                ..
            } => bad(format!(
                "{module} does not build: {}",
                broken(errors, detail)
            )),
            Event::Finished { state } => finished(*state, run).and_then(good),
            Event::NatMeasured(measured) => match &measured.mismatch {
                None => good(format!(
                    "{} is measured as {}",
                    measured.name(),
                    measured.certificate.describe()
                )),
                Some(mismatch) => bad(format!("{}: {mismatch}", measured.name())),
            },
            Event::AttemptFinished(attempt) => self.attempt(attempt),
            Event::AttemptInterrupted { id } => warn(format!("attempt {id} was interrupted")),
            Event::Finding { detail } => warn(first_line(detail).to_owned()),
            Event::Judged {
                verdict, summary, ..
            } => {
                let (glyph, style) = sign(*verdict);
                Some((
                    glyph,
                    style,
                    format!("{verdict}: {summary}{}", counted(run)),
                ))
            }
            Event::WaitBegan { state, until } => Some((
                "▸",
                Style::Strong,
                format!("{state} until {}", clock(*until, self.now, self.zone)),
            )),
            Event::Completed => good("COMPLETE".into()),
            Event::Stopped { detail, .. } => {
                Some(("■", Style::Bad, format!("STOPPED: {}", first_line(detail))))
            }
            Event::FailureFound(found) => warn(format!(
                "{}; see {}/README.md",
                first_line(&found.headline),
                found.bundle
            )),
            Event::FixTried(tried) => warn(format!(
                "fix attempt {}: {}: {}",
                tried.number,
                tried.outcome,
                first_line(&tried.detail)
            )),
            Event::FixCommitted(fix) => good(format!("{} ({})", fix.subject, fix.short_commit())),
            Event::Resumed => Some(("▸", Style::Strong, "resumed".into())),
            _ => None,
        }
    }

    fn attempt(&self, attempt: &Attempt) -> Option<(&'static str, Style, String)> {
        let start = &attempt.start;
        let (glyph, style) = match (start.matrix, attempt.verdict()) {
            (Matrix::Reference, _) if agrees_with_theory(attempt) => ("✓", Style::Good),
            (Matrix::Stack, Counted::Success) => ("✓", Style::Good),
            (_, Counted::Infrastructure) => ("!", Style::Warn),
            _ => ("✗", Style::Bad),
        };
        if style == Style::Good && self.attempts == Attempts::Failed {
            return None;
        }
        let whose = match start.matrix {
            Matrix::Reference => "plain UDP ",
            Matrix::Stack => "",
        };
        let what = why(attempt).unwrap_or_else(|| {
            let time = attempt
                .connect_ms
                .map_or(String::new(), |ms| format!(" in {ms:.0} ms"));
            format!("{}{time}", attempt.observed.path)
        });
        Some((
            glyph,
            style,
            format!("{whose}{}: {}", start.cell.pair, first_line(&what)),
        ))
    }
}

fn finished(state: State, run: &Run) -> Option<String> {
    match state {
        State::Setup => Some(format!(
            "{} of {} nodes reached",
            run.reached.len(),
            run.reached.len() + run.degraded.len()
        )),
        State::Deploy => {
            let sent: u64 = run.deployed.iter().map(|d| d.sent_bytes).sum();
            let units: BTreeSet<_> = run.deployed.iter().map(|d| (&d.node, &d.unit)).collect();
            Some(format!(
                "{} services run, {:.1} MB sent",
                units.len(),
                sent as f64 / 1e6
            ))
        }
        _ => None,
    }
}

/// How many attempts the judged TEST had, and how long it took.
fn counted(run: &Run) -> String {
    let Some((cycle, pass, _)) = run.verdicts.last() else {
        return String::new();
    };
    let attempts = run.judged_attempts(*cycle, *pass);
    let ok = attempts
        .iter()
        .filter(|a| a.verdict() == Counted::Success)
        .count();
    format!(" ({ok} of {} attempts succeeded)", attempts.len())
}

/// `src/x.rs:12: mismatched types, and 2 more`
fn broken(errors: &[BuildProblem], detail: &str) -> String {
    let Some(first) = errors.first() else {
        return first_line(detail).to_owned();
    };
    let place = match (&first.file, first.line) {
        (Some(file), Some(line)) => format!("{file}:{line}: "),
        _ => String::new(),
    };
    let more = match errors.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    format!("{place}{}{more}", first_line(&first.message))
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// The last line of a story that was told to its end.
pub fn took(run: &Run) -> Option<String> {
    let took = run.ended_at?.duration_since(run.started_at?);
    Some(format!("it took {}", span(took)))
}
