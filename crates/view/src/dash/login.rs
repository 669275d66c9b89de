//! The form where a person shows a token.

use crate::html::{Escaped, Page, Style};

/// `next` is where they wanted to go.
pub fn login(next: &str, refusal: Option<&str>) -> String {
    let refusal = refusal.map_or(String::new(), |why| {
        format!("<p class=\"refusal\" role=\"alert\">{}</p>\n", Escaped(why))
    });
    let body = format!(
        "<main class=\"login\" id=\"main\">\n<h1>vps-test</h1>\n{refusal}\
         <form method=\"post\" action=\"/login\">\n\
         <input type=\"hidden\" name=\"next\" value=\"{}\">\n\
         <label for=\"token\">Token of a viewer or an operator</label>\n\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required>\n\
         <button>Log in</button>\n</form>\n\
         <p><small>On the registry's host: <code>vps-test-registry token add --scope viewer --fleet FLEET \
         --tokens FILE</code>.</small></p>\n</main>\n",
        Escaped(next)
    );
    Page {
        title: "Log in · vps-test",
        style: Style::Linked(super::STYLE_PATH),
        script: Some(super::SCRIPT_PATH),
        refresh_seconds: None,
        body: &body,
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_escaped() {
        let page = login("\"><script>", Some("<script>"));
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("role=\"alert\""));
        assert!(!login("/", None).contains("role=\"alert\""));
    }
}
