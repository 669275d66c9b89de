//! The history: runs, newest first, and how each criterion went over them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::publication::RunSummary;

use super::overview::{bar, state_words, tone};
use super::{ago, badge, in_query, put};
use crate::html::Escaped;

/// `next` is the address of the older ones.
pub fn runs(runs: &[RunSummary], next: Option<&str>, now: Timestamp) -> String {
    let mut out = String::from("<h1>Runs</h1>\n");
    if runs.is_empty() {
        out.push_str("<p class=\"empty\">No run was published here yet.</p>\n");
        return out;
    }
    trends(&mut out, runs);
    out.push_str("<section class=\"card\" aria-label=\"History\">\n<form class=\"compare\" method=\"get\" action=\"/compare\">\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Runs\"><table>\n<thead><tr><th scope=\"col\">A</th><th scope=\"col\">B</th><th scope=\"col\">Run</th><th scope=\"col\">Verdict</th><th scope=\"col\">State</th><th scope=\"col\">Stack</th><th scope=\"col\">Began</th></tr></thead>\n<tbody>\n");
    for (index, run) in runs.iter().enumerate() {
        let id = run.run.as_str();
        let pick = |name: &str, at| {
            let checked = if index == at { " checked" } else { "" };
            format!(
                "<td><input type=\"radio\" name=\"{name}\" value=\"{0}\"{checked} aria-label=\"{0} as {name}\"></td>",
                Escaped(id)
            )
        };
        put(
            &mut out,
            format_args!(
                "<tr class=\"{}\">{}{}<th scope=\"row\"><a href=\"/runs/{}\">{}</a></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                tone(run),
                pick("a", 1),
                pick("b", 0),
                in_query(id),
                Escaped(id),
                badge(run.standing),
                state_words(run, now),
                Escaped(run.stack.as_deref().unwrap_or("–")),
                ago(run.started_at, now),
            ),
        );
    }
    out.push_str("</tbody></table></div>\n<button>Compare A with B</button>\n</form>\n");
    if let Some(next) = next {
        put(
            &mut out,
            format_args!(
                "<p><a href=\"/runs?after={}\">Older runs</a></p>\n",
                in_query(next)
            ),
        );
    }
    out.push_str("</section>\n");
    out
}

/// For each project and criterion the intervals over time, oldest first.
fn trends(out: &mut String, runs: &[RunSummary]) {
    let mut found: BTreeMap<(&str, &str), Vec<&RunSummary>> = BTreeMap::new();
    for run in runs.iter().rev() {
        for criterion in run.criteria.iter().filter(|c| c.attempts > 0) {
            let key = (run.project.as_str(), criterion.name.as_str());
            found.entry(key).or_default().push(run);
        }
    }
    if found.is_empty() {
        return;
    }
    out.push_str(
        "<section class=\"card\" aria-label=\"Trends\">\n<h2>Trends</h2>\n<div class=\"trends\">\n",
    );
    for ((project, name), of) in found {
        let newest = of.iter().rev().take(20).rev();
        put(
            out,
            format_args!(
                "<figure><figcaption>{} <b>{}</b></figcaption><ol>\n",
                Escaped(project),
                Escaped(name)
            ),
        );
        for run in newest {
            if let Some(c) = run.criteria.iter().find(|c| c.name == name) {
                put(
                    out,
                    format_args!(
                        "<li><a href=\"/runs/{}\">{}</a> {} <span class=\"number\">{}/{}</span></li>\n",
                        in_query(run.run.as_str()),
                        Escaped(run.run.time()),
                        bar(c),
                        c.successes,
                        c.attempts
                    ),
                );
            }
        }
        out.push_str("</ol></figure>\n");
    }
    out.push_str("</div></section>\n");
}
