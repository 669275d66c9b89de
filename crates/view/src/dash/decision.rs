//! A run that waits for a person: two forms for whoever may decide, and what was
//! said until the run has taken it over.

use jiff::Timestamp;
use model::event::Decision;
use model::publication::{Decided, RunId};

use super::{ago, in_query, put};
use crate::html::Escaped;

/// `csrf` is the session's secret of somebody who may decide.
pub fn decision(
    run: &RunId,
    decided: Option<&Decided>,
    csrf: Option<&str>,
    now: Timestamp,
) -> String {
    let mut out =
        String::from("<section class=\"card decision\" aria-label=\"A person\u{2019}s word\">\n");
    match (decided, csrf) {
        (Some(decided), _) => said(&mut out, run, decided, now),
        (None, Some(csrf)) => forms(&mut out, run, csrf),
        (None, None) => out.push_str(
            "<p><b>This run waits for a person\u{2019}s word.</b> All tests passed; whoever logs in with an operator\u{2019}s token confirms or rejects it here.</p>\n",
        ),
    }
    out.push_str("</section>\n");
    out
}

fn said(out: &mut String, run: &RunId, decided: &Decided, now: Timestamp) {
    let word = match decided.decision {
        Decision::Confirmed => "confirmed",
        Decision::Rejected => "rejected",
    };
    let reason = decided.reason.as_ref().map_or(String::new(), |reason| {
        format!(": \u{201c}{}\u{201d}", Escaped(reason))
    });
    put(
        out,
        format_args!(
            "<p><b>{} {word} this run</b> {}{reason}</p>\n\
             <p class=\"hint\">It counts once the run has taken it over, which <code>vps-test confirm {} --watch</code> does where the run was started.</p>\n",
            Escaped(&decided.by),
            ago(Some(decided.at), now),
            Escaped(run.as_str()),
        ),
    );
}

/// Two, so that a browser by itself asks for a reason where one is needed.
fn forms(out: &mut String, run: &RunId, csrf: &str) {
    out.push_str("<p><b>This run waits for your word.</b> All tests passed; look at what it shows, then confirm or reject it. The first word counts.</p>\n<div class=\"words\">\n");
    for (decision, label, needed, button) in [
        ("confirmed", "Remark, if any", "", "Confirm"),
        ("rejected", "Why not", " required", "Reject"),
    ] {
        put(
            out,
            format_args!(
                "<form method=\"post\" action=\"/runs/{}/decision\" autocomplete=\"off\">\
                 <input type=\"hidden\" name=\"csrf\" value=\"{}\">\
                 <input type=\"hidden\" name=\"decision\" value=\"{decision}\">\
                 <label for=\"why-{decision}\">{label}</label>\
                 <input id=\"why-{decision}\" name=\"reason\" maxlength=\"300\"{needed}>\
                 <button class=\"{decision}\">{button}</button></form>\n",
                in_query(run.as_str()),
                Escaped(csrf),
            ),
        );
    }
    out.push_str("</div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunId {
        RunId::new("p", "t").unwrap()
    }

    #[test]
    fn only_whoever_may_decide_gets_forms() {
        let now = Timestamp::UNIX_EPOCH;
        let forms = decision(&run(), None, Some("\"x"), now);
        assert_eq!(forms.matches("<form").count(), 2);
        assert!(!forms.contains("value=\"\"x\""), "{forms}");
        assert!(!decision(&run(), None, None, now).contains("<form"));
    }

    #[test]
    fn what_was_said_is_shown_escaped_and_asked_no_more() {
        let now = Timestamp::UNIX_EPOCH;
        let decided = Decided {
            decision: Decision::Rejected,
            reason: Some("<script>".into()),
            by: "<b>".into(),
            at: now,
            entries: 1,
        };
        let page = decision(&run(), Some(&decided), Some("x"), now);
        assert!(page.contains("rejected this run") && page.contains("--watch"));
        assert!(!page.contains("<form") && !page.contains("<script") && !page.contains("<b><b>"));
    }
}
