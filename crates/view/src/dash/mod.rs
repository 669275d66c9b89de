//! The live dashboard's pages: what goes into `<main>`, and the frame around it.
//!
//! Every page is whole without a script. [`SCRIPT`] listens to the registry's
//! events, loads the page again and puts in what differs.

mod attempts;
mod compare;
mod decision;
mod login;
mod machine;
mod nat;
mod node;
mod overview;
mod places;
mod run;
mod runs;

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::html::{Escaped, Page, Style};

pub use compare::compare;
pub use decision::decision;
pub use login::login;
pub use machine::machine;
pub use nat::nat;
pub use node::{NodePage, node};
pub use overview::{Loop, NodeHealth, overview};
pub use places::places;
pub use run::{MatrixBy, matrix_page, run};
pub use runs::runs;

/// Where the server serves them.
pub const STYLE_PATH: &str = "/style.css";
pub const SCRIPT_PATH: &str = "/live.js";

pub const ICON_PATH: &str = "/icon.svg";

/// Two peers and a path between them.
pub const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\">\
    <path d=\"M4 11L12 5\" stroke=\"#1f8a5b\" stroke-width=\"2\"/>\
    <circle cx=\"4\" cy=\"11\" r=\"3\" fill=\"#1f8a5b\"/><circle cx=\"12\" cy=\"5\" r=\"3\" fill=\"#1f8a5b\"/></svg>\n";

pub const SCRIPT: &str = include_str!("live.js");

/// Which entry of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    Overview,
    Matrix,
    Map,
    Nat,
    Runs,
    Elsewhere,
}

/// Who is logged in.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    pub name: &'a str,
    pub scope: &'a str,
    pub csrf: &'a str,
}

/// A page around `main`, which is escaped already.
pub struct Frame<'a> {
    pub title: &'a str,
    pub here: Here,
    pub person: Option<Person<'a>>,
    /// `run=…`, which the navigation keeps.
    pub keep: &'a str,
    pub version: &'a str,
    /// What is for this person alone, above the rest; escaped as well.
    pub own: &'a str,
    pub main: &'a str,
}

impl Frame<'_> {
    pub fn render(&self) -> String {
        let mut body = String::from("<a class=\"skip\" href=\"#main\">Skip to the content</a>\n");
        self.header(&mut body);
        put(
            &mut body,
            format_args!(
                "<main id=\"main\" tabindex=\"-1\">\n{}{}</main>\n",
                self.own, self.main
            ),
        );
        put(
            &mut body,
            format_args!(
                "<footer><a href=\"/api/openapi.json\">API</a> <a href=\"/metrics\">Prometheus</a> \
                 <a href=\"/health\">health</a> <span>vps-test-registry {}</span></footer>\n",
                Escaped(self.version)
            ),
        );
        Page {
            title: &format!("{} · vps-test", self.title),
            style: Style::Linked(STYLE_PATH),
            script: Some(SCRIPT_PATH),
            refresh_seconds: None,
            body: &body,
        }
        .to_string()
    }

    fn header(&self, out: &mut String) {
        out.push_str("<header class=\"bar\">\n<a class=\"brand\" href=\"/\">vps-test</a>\n<nav aria-label=\"Pages\">");
        for (here, path, name) in [
            (Here::Overview, "/", "Overview"),
            (Here::Matrix, "/matrix", "Matrix"),
            (Here::Map, "/map", "Map"),
            (Here::Nat, "/nat", "NAT"),
            (Here::Runs, "/runs", "Runs"),
        ] {
            let current = if here == self.here {
                " aria-current=\"page\""
            } else {
                ""
            };
            let keep = match here {
                Here::Overview | Here::Runs => String::new(),
                _ if self.keep.is_empty() => String::new(),
                _ => format!("?{}", Escaped(self.keep)),
            };
            put(
                out,
                format_args!("<a href=\"{path}{keep}\"{current}>{name}</a>"),
            );
        }
        out.push_str("</nav>\n<span id=\"live\" class=\"live\" role=\"status\" data-state=\"still\">not live</span>\n");
        if let Some(person) = &self.person {
            put(
                out,
                format_args!(
                    "<form class=\"person\" method=\"post\" action=\"/logout\"><input type=\"hidden\" name=\"csrf\" value=\"{}\">\
                     <span>{} <small>{}</small></span> <button>Log out</button></form>\n",
                    Escaped(person.csrf),
                    Escaped(person.name),
                    Escaped(person.scope)
                ),
            );
        }
        out.push_str("</header>\n");
    }
}

pub(crate) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String cannot fail");
}

/// `<time>` that the script counts up from: how long ago.
pub(crate) fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "–".into() };
    let seconds = now.duration_since(at).as_secs_f64().max(0.0);
    format!(
        "<time datetime=\"{at}\" data-ago=\"{}\">{} ago</time>",
        at.as_millisecond(),
        crate::quantity::span(seconds)
    )
}

/// `<time>` that the script counts down to: how long still.
pub(crate) fn left(until: Timestamp, now: Timestamp) -> String {
    let seconds = until.duration_since(now).as_secs_f64().max(0.0);
    format!(
        "<time class=\"countdown\" datetime=\"{until}\" data-until=\"{}\">{}</time>",
        until.as_millisecond(),
        crate::quantity::span(seconds)
    )
}

/// A verdict as a word with its colour.
pub(crate) fn badge(verdict: model::stats::Verdict) -> String {
    let class = match verdict {
        model::stats::Verdict::Pass => "pass",
        model::stats::Verdict::Fail => "fail",
        model::stats::Verdict::Inconclusive => "open",
    };
    format!("<span class=\"badge {class}\">{verdict}</span>")
}

/// Letters that mean something in an address, as `%XX`.
pub(crate) fn in_query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            put(&mut out, format_args!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_marks_where_one_is_and_runs_nothing_inline() {
        let page = Frame {
            title: "Matrix",
            here: Here::Matrix,
            person: Some(Person {
                name: "<b>",
                scope: "viewer",
                csrf: "\"x",
            }),
            keep: "run=a/b",
            version: "1",
            own: "",
            main: "<p>x</p>\n",
        }
        .render();
        assert_eq!(page.matches("aria-current").count(), 1);
        assert!(page.contains("href=\"/matrix?run=a/b\" aria-current"));
        assert!(!page.contains("<b>") && !page.contains("value=\"\"x"));
        assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains("onclick"));
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("<script src=\"/live.js\" defer></script>"));
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(in_query("a b&c=\"é"), "a%20b%26c%3D%22%C3%A9");
    }
}
