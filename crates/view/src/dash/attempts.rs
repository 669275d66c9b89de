//! The attempts of a cell, each with what it did and what was counted.

use model::attempt::{Attempt, Counted, Matrix};
use model::judge::why;
use model::protocol::Rung;

use super::put;
use crate::html::Escaped;
use crate::quantity::bytes;

pub(super) fn attempts<'a>(out: &mut String, attempts: impl IntoIterator<Item = &'a Attempt>) {
    let mut none = true;
    out.push_str("<ol class=\"attempts\">\n");
    for attempt in attempts {
        none = false;
        one(out, attempt);
    }
    out.push_str("</ol>\n");
    if none {
        out.push_str("<p class=\"empty\">No attempt yet.</p>\n");
    }
}

fn one(out: &mut String, a: &Attempt) {
    let (class, word) = match a.verdict() {
        Counted::Success => ("pass", "success"),
        Counted::Failure => ("fail", "failure"),
        Counted::Infrastructure => ("open", "infrastructure"),
    };
    let matrix = match a.start.matrix {
        Matrix::Stack => "the stack",
        Matrix::Reference => "plain UDP",
    };
    put(
        out,
        format_args!(
            "<li><div><span class=\"badge {class}\">{word}</span> <b>{matrix}</b> cycle {} test {} <code>{}</code></div>\n",
            a.start.cycle + 1,
            a.start.pass + 1,
            Escaped(&a.start.id.to_string()),
        ),
    );
    let why = why(a);
    if let Some(why) = &why {
        put(
            out,
            format_args!("<p class=\"finding\">{}</p>\n", Escaped(why)),
        );
    }
    let explained = a.explanation.as_ref();
    if let Some(other) = explained
        .map(|e| &e.sentence)
        .filter(|said| why.as_ref() != Some(*said))
    {
        put(out, format_args!("<p>{}</p>\n", Escaped(other)));
    }
    if let Some(explained) = explained.filter(|e| !e.seen.is_empty()) {
        out.push_str("<ul class=\"evidence\">\n");
        for line in &explained.seen {
            put(out, format_args!("<li>{}</li>\n", Escaped(line)));
        }
        out.push_str("</ul>\n");
    }
    let via = a
        .observed
        .via
        .map_or(String::new(), |via| format!(" through {via}"));
    put(
        out,
        format_args!(
            "<p>Observed <b>{}</b>{via}, claimed <b>{}</b>; counted {} forth and {} back.{}</p>\n",
            a.observed.path,
            a.claimed,
            bytes(a.observed.forth_bytes as f64),
            bytes(a.observed.back_bytes as f64),
            a.connect_ms.map_or(String::new(), |ms| format!(
                " Connected in {ms:.0} ms, {} at once.",
                a.at_once
            )),
        ),
    );
    if !a.rungs.is_empty() {
        out.push_str("<table class=\"rungs\"><thead><tr><th scope=\"col\">Rung</th><th scope=\"col\" class=\"number\">Took</th><th scope=\"col\" class=\"number\">Limit</th><th scope=\"col\">Came to</th></tr></thead><tbody>\n");
        for rung in &a.rungs {
            put(
                out,
                format_args!(
                    "<tr><td>{}</td><td class=\"number\">{:.0} ms</td><td class=\"number\">{} ms</td><td>{}</td></tr>\n",
                    rung_word(rung.rung),
                    rung.elapsed_ms,
                    rung.timeout_ms,
                    rung.failure.as_ref().map_or_else(
                        || "connected".into(),
                        |f| Escaped(&f.to_string()).to_string()
                    ),
                ),
            );
        }
        out.push_str("</tbody></table>\n");
    }
    let list = |addresses: &[std::net::SocketAddr]| {
        let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        words.join(", ")
    };
    put(
        out,
        format_args!(
            "<p><small>caller {} · callee {}</small></p></li>\n",
            list(&a.endpoints.caller),
            list(&a.endpoints.callee)
        ),
    );
}

fn rung_word(rung: Rung) -> &'static str {
    match rung {
        Rung::Direct => "direct",
        Rung::Punched => "punched",
        Rung::Relayed => "relayed",
        Rung::Reverse => "reverse",
    }
}
