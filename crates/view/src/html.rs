//! Escaping, and the few words of HTML that every page needs.

use std::fmt;

/// Text from outside, safe between tags and inside quoted attributes.
///
/// Control characters and the bidirectional overrides, which could make a page
/// read otherwise than it is, are shown as `�`.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_str("\u{fffd}"),
            c if c.is_control() => f.write_str("\u{fffd}"),
            c => write!(f, "{c}"),
        })
    }
}

/// Appends to a `String`, which cannot fail. Text from outside goes in as
/// [`Escaped`].
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($out, $($arg)*);
    }};
}
pub(crate) use put;

/// Where a page finds its style sheet.
pub enum Style<'a> {
    /// A path on the same server.
    Linked(&'a str),
    /// Inside the page, which then stands alone; this follows on what every page needs.
    Inline(&'a str),
}

/// A whole document around `body`, which must be escaped already.
pub struct Page<'a> {
    pub title: &'a str,
    pub style: Style<'a>,
    /// Path of the page's only script, on the same server.
    pub script: Option<&'a str>,
    /// Load again after so many seconds.
    pub refresh_seconds: Option<u32>,
    pub body: &'a str,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")?;
        f.write_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")?;
        if let Some(seconds) = self.refresh_seconds {
            writeln!(f, "<meta http-equiv=\"refresh\" content=\"{seconds}\">")?;
        }
        writeln!(f, "<title>{}</title>", Escaped(self.title))?;
        match self.style {
            Style::Linked(path) => {
                writeln!(f, "<link rel=\"stylesheet\" href=\"{}\">", Escaped(path))?;
            }
            Style::Inline(more) => writeln!(f, "<style>\n{}{more}</style>", crate::BASE_STYLE)?,
        }
        if let Some(path) = self.script {
            writeln!(
                f,
                "<link rel=\"icon\" type=\"image/svg+xml\" href=\"/icon.svg\">"
            )?;
            writeln!(f, "<script src=\"{}\" defer></script>", Escaped(path))?;
        }
        writeln!(f, "</head>\n<body>\n{}</body>\n</html>", self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_text_or_attributes() {
        let hostile = "\"><script>alert('x')</script>&amp;";
        let shown = Escaped(hostile).to_string();
        assert!(!shown.contains(['<', '>', '"', '\'']), "{shown}");
        assert_eq!(
            shown,
            "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;"
        );
    }

    #[test]
    fn control_and_direction_characters_become_visible() {
        let shown = Escaped("a\u{0}b\u{202e}c\nd").to_string();
        assert_eq!(shown, "a\u{fffd}b\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn a_page_escapes_its_title() {
        let page = Page {
            title: "</title><b>",
            style: Style::Linked("/style.css"),
            script: None,
            refresh_seconds: None,
            body: "",
        };
        assert!(
            page.to_string()
                .contains("<title>&lt;/title&gt;&lt;b&gt;</title>")
        );
    }
}
