//! The states that a run went through, in order, with how long each took.

use jiff::Timestamp;
use model::proof::{PassResult, TimelineEntry};
use model::run::State;
use model::stats::Verdict;

use crate::html::put;
use crate::quantity::span;

/// An ordered list; it wraps where the page is narrow. A state that is not over
/// has no `until` and no duration.
pub fn timeline(
    entries: &[TimelineEntry],
    passes: &[PassResult],
    until: Option<Timestamp>,
) -> String {
    let mut out = String::from("<ol class=\"timeline\">\n");
    for (index, entry) in entries.iter().enumerate() {
        let end = entries.get(index + 1).map(|next| next.at).or(until);
        let verdict = verdict_of(entry, passes);
        let class = match (entry.state, verdict) {
            (State::Complete, _) | (_, Some(Verdict::Pass)) => "pass",
            (State::Stopped | State::Fix | State::Restart, _) | (_, Some(Verdict::Fail)) => "fail",
            (State::Wait1Hr | State::Wait6Hr, _) => "wait",
            (_, Some(Verdict::Inconclusive)) => "inconclusive",
            (_, None) => "step",
        };
        put!(out, "<li class=\"{class}\"><b>{}</b>", entry.state);
        if let Some(verdict) = verdict {
            put!(out, " <em>{verdict}</em>");
        }
        put!(
            out,
            "<span><time datetime=\"{}\">{}</time>{}</span></li>\n",
            entry.at,
            entry.at.strftime("%H:%M:%S"),
            end.filter(|_| !matches!(entry.state, State::Complete | State::Stopped))
                .map(|end| format!(" · {}", lasted(entry.at, end)))
                .unwrap_or_default(),
        );
    }
    out.push_str("</ol>\n");
    out
}

fn lasted(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs_f64();
    if seconds < 10.0 {
        format!("{:.1} s", seconds.max(0.0))
    } else {
        span(seconds)
    }
}

fn verdict_of(entry: &TimelineEntry, passes: &[PassResult]) -> Option<Verdict> {
    let test = passes
        .iter()
        .find(|p| entry.state == State::Test && (p.cycle, p.pass) == (entry.cycle, entry.pass));
    test.map(|p| p.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_says_how_long_it_took_and_a_test_what_it_came_to() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let entry = |state, second| TimelineEntry {
            state,
            at: at(second),
            cycle: 0,
            pass: 0,
        };
        let pass = PassResult {
            cycle: 0,
            pass: 0,
            at: at(70),
            verdict: Verdict::Pass,
            summary: String::new(),
            criteria: Vec::new(),
        };
        let list = timeline(
            &[
                entry(State::Setup, 0),
                entry(State::Test, 4),
                entry(State::Wait1Hr, 74),
                entry(State::Complete, 3674),
            ],
            &[pass],
            None,
        );
        let text = list.replace('\n', "");
        assert!(text.contains("<b>SETUP</b><span><time datetime=\"1970-01-01T00:00:00Z\">00:00:00</time> · 4.0 s</span>"), "{text}");
        assert!(
            text.contains("<li class=\"pass\"><b>TEST</b> <em>PASS</em>"),
            "{text}"
        );
        assert!(
            text.contains("<li class=\"wait\"><b>WAIT_1HR</b>"),
            "{text}"
        );
        assert!(text.contains("1 h 0 min"), "{text}");
        assert!(text.ends_with("01:01:14</time></span></li></ol>"), "{text}");
    }
}
