//! All loops, a block each.

use std::fmt::Write;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::event::StopCause;
use model::run::State;
use model::stats::Verdict;
use model::status::{Counters, Status};

use super::paint::{Paint, Style};
use super::time::{between, clock};
use crate::runs::Loop;

pub struct View<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    pub paint: Paint,
}

impl View<'_> {
    pub fn render(&self, loops: &[Loop], state_dir: &Path) -> String {
        if loops.is_empty() {
            return format!(
                "no runs yet in {}\n`vps-test start` begins one\n",
                state_dir.display()
            );
        }
        let blocks: Vec<String> = loops.iter().map(|one| self.block(one)).collect();
        blocks.join("\n")
    }

    fn block(&self, one: &Loop) -> String {
        let mut out = self.headline(one);
        match &one.status {
            Some(Ok(status)) => self.details(&mut out, one, status),
            Some(Err(why)) => line(&mut out, "journal", why),
            None => line(&mut out, "next", "SETUP, as soon as the hosts are up"),
        }
        if let Some(holder) = &one.holder {
            line(
                &mut out,
                "process",
                &format!(
                    "{}; `vps-test stop {}` ends it in order",
                    holder.pid, one.project
                ),
            );
        }
        if let Some(dir) = &one.dir {
            line(&mut out, "run", &dir.path().display().to_string());
        }
        out
    }

    /// `● ant-quic      WAIT_1HR     for 12 min, since 11:20:03`
    fn headline(&self, one: &Loop) -> String {
        let status = one.status.as_ref().and_then(|s| s.as_ref().ok());
        let (sign, style) = sign(one, status);
        let state = match (status, one.is_alive()) {
            (Some(status), _) => status.state.to_string(),
            (None, true) => "starting".into(),
            (None, false) => "unreadable".into(),
        };
        let since = status
            .and_then(|s| s.since)
            .or(one.holder.as_ref().map(|h| h.since));
        let since = since.map_or(String::new(), |at| {
            let for_how_long = between(at, self.now);
            format!("for {for_how_long}, since {}", self.clock(at))
        });
        let name = self
            .paint
            .text(Style::Strong, &format!("{:<14}", one.project));
        let head = format!(
            "{} {name} {state:<12} {since}",
            self.paint.text(style, sign)
        );
        format!("{}\n", head.trim_end())
    }

    fn details(&self, out: &mut String, one: &Loop, status: &Status) {
        if let Some(stopped) = &status.stopped {
            line(
                out,
                "why",
                stopped.detail.lines().next().unwrap_or_default(),
            );
        }
        line(out, "next", &self.next(one, status));
        line(
            out,
            "tests",
            &format!(
                "{} of {} passed, cycle {}{}",
                status.passed,
                status.passes,
                status.cycle + 1,
                self.verdict(status)
            ),
        );
        line(
            out,
            "attempts",
            &attempts(&status.attempts, status.in_flight),
        );
        if !status.degraded.is_empty() {
            let names: Vec<&str> = status.degraded.iter().map(|n| n.as_str()).collect();
            line(out, "degraded", &names.join(", "));
        }
        if status.findings > 0 {
            let what = format!(
                "{}; `vps-test logs {}` tells them",
                status.findings, one.project
            );
            line(out, "findings", &what);
        }
        if !status.commits.is_empty() {
            line(out, "commits", &status.commits.join(", "));
        }
        line(
            out,
            "focus",
            &format!("{}, on {}", status.focus, status.runs_on),
        );
    }

    fn next(&self, one: &Loop, status: &Status) -> String {
        if !one.is_alive() && !status.is_over() {
            return format!(
                "nothing: its process is gone; `vps-test resume {}` goes on",
                one.project
            );
        }
        match (status.state, status.next.at) {
            (State::Complete, _) => "nothing: it is complete".into(),
            (State::Stopped, _) => after_stop(&one.project, status),
            (_, Some(at)) if at > self.now => format!(
                "{} at {}, in {}",
                status.next.what,
                self.clock(at),
                between(self.now, at)
            ),
            _ => status.next.what.clone(),
        }
    }

    fn verdict(&self, status: &Status) -> String {
        status.verdict.map_or(String::new(), |verdict| {
            let style = super::summary::sign(verdict).1;
            format!(
                ", last verdict {}",
                self.paint.text(style, &verdict.to_string())
            )
        })
    }

    fn clock(&self, at: Timestamp) -> String {
        clock(at, self.now, self.zone)
    }
}

fn line(out: &mut String, what: &str, words: &str) {
    let _ = writeln!(out, "    {what:<10}{words}");
}

fn sign(one: &Loop, status: Option<&Status>) -> (&'static str, Style) {
    match (one.is_alive(), status) {
        (true, _) => ("●", Style::Note),
        (false, Some(status)) if status.state == State::Complete => {
            super::summary::sign(status.verdict.unwrap_or(Verdict::Inconclusive))
        }
        (false, Some(status)) if status.verdict == Some(Verdict::Fail) => ("✗", Style::Bad),
        (false, _) => ("■", Style::Warn),
    }
}

fn attempts(counters: &Counters, in_flight: usize) -> String {
    let mut parts = vec![
        format!("{} succeeded", counters.succeeded),
        format!("{} failed", counters.failed),
    ];
    if counters.infrastructure > 0 {
        parts.push(format!("{} infrastructure", counters.infrastructure));
    }
    if in_flight > 0 {
        parts.push(format!("{in_flight} in flight"));
    }
    parts.join(", ")
}

/// The status itself, with process and place.
pub fn json(one: &Loop) -> serde_json::Value {
    let mut value = match &one.status {
        Some(Ok(status)) => serde_json::json!(status),
        Some(Err(why)) => serde_json::json!({ "project": one.project, "error": why }),
        None => serde_json::json!({ "project": one.project, "state": "INTERVIEW" }),
    };
    value["alive"] = one.is_alive().into();
    value["pid"] = one.holder.as_ref().map(|holder| holder.pid).into();
    value["run"] = one
        .dir
        .as_ref()
        .map(|dir| dir.path().display().to_string())
        .into();
    value
}

/// What a person may do.
fn after_stop(project: &str, status: &Status) -> String {
    let word = match status.stopped.as_ref().map(|stopped| stopped.cause) {
        Some(StopCause::Parked | StopCause::Failed) => "fixed",
        Some(StopCause::Unconfirmed) => "confirm",
        Some(StopCause::Rejected) => return "nothing: it was rejected".into(),
        _ => "resume",
    };
    format!("nothing by itself; `vps-test {word} {project}` goes on")
}

#[cfg(test)]
mod tests;
