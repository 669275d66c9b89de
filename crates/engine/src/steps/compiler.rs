//! cargo's JSON messages: executables, and what the compiler had to say.

use std::collections::HashMap;
use std::path::PathBuf;

use model::event::BuildProblem;
use serde::Deserialize;

/// Errors that are kept; the rest is counted.
const KEPT: usize = 20;

/// What cargo said on standard output.
#[derive(Debug, Default)]
pub struct Said {
    /// By the binary's name.
    pub executables: HashMap<String, PathBuf>,
    pub errors: Vec<BuildProblem>,
    /// How many errors there were in all.
    pub error_count: usize,
    pub warnings: u32,
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    rendered: Option<String>,
    code: Option<Code>,
    #[serde(default)]
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    column_start: u32,
    is_primary: bool,
}

impl Said {
    /// What another call said, after this one.
    pub fn append(&mut self, more: Self) {
        self.executables.extend(more.executables);
        self.errors.extend(more.errors);
        self.error_count += more.error_count;
        self.warnings += more.warnings;
    }

    /// Lines that are no message of cargo's are passed over.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut said = Self::default();
        let messages = lines
            .into_iter()
            .filter_map(|line| serde_json::from_str::<Message>(line).ok());
        for message in messages {
            if let Some(path) = message.executable
                && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            {
                said.executables.insert(name.to_owned(), path.clone());
            }
            if let Some(diagnostic) = message.message {
                said.diagnostic(diagnostic);
            }
        }
        said
    }

    fn diagnostic(&mut self, diagnostic: Diagnostic) {
        // rustc closes with a sum, which is none of its diagnostics.
        if diagnostic.spans.is_empty() && diagnostic.code.is_none() && is_sum(&diagnostic.message) {
            return;
        }
        match diagnostic.level.as_str() {
            "warning" => self.warnings += 1,
            level if level.starts_with("error") => {
                self.error_count += 1;
                if self.errors.len() < KEPT {
                    self.errors.push(problem(diagnostic));
                }
            }
            _ => {}
        }
    }

    /// The compiler itself is not complete for this target, or its linker is not: no
    /// code is at fault. Without a target of its own, a link that fails is the code's.
    pub fn is_toolchain(&self, target: Option<&str>) -> bool {
        let is_std = |e: &BuildProblem| {
            e.code.as_deref() == Some("E0463")
                && ["`core`", "`std`"]
                    .iter()
                    .any(|name| e.message.contains(name))
        };
        let is_link = |e: &BuildProblem| target.is_some() && e.message.starts_with("linking with");
        !self.errors.is_empty() && self.errors.iter().all(|e| is_std(e) || is_link(e))
    }

    /// The errors as the compiler shows them.
    pub fn rendered(&self) -> String {
        let mut text: String = self
            .errors
            .iter()
            .map(|error| format!("{}\n", error.rendered.trim_end()))
            .collect();
        if self.error_count > self.errors.len() {
            let more = self.error_count - self.errors.len();
            text.push_str(&format!("… and {more} more errors\n"));
        }
        text
    }
}

fn is_sum(message: &str) -> bool {
    message.starts_with("aborting due to")
        || message.ends_with("warnings emitted")
        || message.ends_with("warning emitted")
        || message.starts_with("For more information about")
        || message.starts_with("Some errors have detailed explanations")
}

fn problem(diagnostic: Diagnostic) -> BuildProblem {
    let primary = diagnostic.spans.iter().find(|span| span.is_primary);
    BuildProblem {
        code: diagnostic.code.map(|code| code.code),
        file: primary.map(|span| span.file_name.clone()),
        line: primary.map(|span| span.line_start),
        column: primary.map(|span| span.column_start),
        rendered: diagnostic
            .rendered
            .unwrap_or_else(|| format!("error: {}", diagnostic.message)),
        message: diagnostic.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: &str = r#"{"reason":"compiler-message","message":{"level":"error","message":"mismatched types","code":{"code":"E0308","explanation":null},"rendered":"error[E0308]: mismatched types\n --> src/main.rs:2:18\n","spans":[{"file_name":"src/other.rs","line_start":9,"column_start":1,"is_primary":false},{"file_name":"src/main.rs","line_start":2,"column_start":18,"is_primary":true}]}}"#;
    const SUM: &str = r#"{"reason":"compiler-message","message":{"level":"error","message":"aborting due to 1 previous error","code":null,"rendered":"error: aborting","spans":[]}}"#;
    const WARNING: &str = r#"{"reason":"compiler-message","message":{"level":"warning","message":"unused variable: `x`","code":{"code":"unused_variables"},"rendered":"warning","spans":[]}}"#;

    #[test]
    fn errors_have_file_and_line_and_sums_are_none() {
        let said = Said::read([ERROR, WARNING, SUM, "Compiling x", "{}"]);
        assert_eq!((said.error_count, said.warnings), (1, 1));
        let error = &said.errors[0];
        assert_eq!(error.file.as_deref(), Some("src/main.rs"));
        assert_eq!((error.line, error.column), (Some(2), Some(18)));
        assert_eq!(error.code.as_deref(), Some("E0308"));
        assert!(said.rendered().contains("--> src/main.rs:2:18"));
    }

    #[test]
    fn a_target_that_is_not_installed_is_nobodys_code() {
        let std = ERROR
            .replace("mismatched types", "can't find crate for `std`")
            .replace("E0308", "E0463");
        assert!(Said::read([std.as_str()]).is_toolchain(None));
        assert!(!Said::read([std.as_str(), ERROR]).is_toolchain(None));
        let link = ERROR.replace("mismatched types", "linking with `zigcc` failed");
        assert!(Said::read([link.as_str()]).is_toolchain(Some("x")));
        assert!(!Said::read([link.as_str()]).is_toolchain(None));
        assert!(!Said::default().is_toolchain(Some("x")));
    }

    #[test]
    fn more_errors_than_are_kept_are_counted() {
        let said = Said::read(std::iter::repeat_n(ERROR, KEPT + 5));
        assert_eq!(said.errors.len(), KEPT);
        assert!(said.rendered().ends_with("… and 5 more errors\n"));
    }

    #[test]
    fn executables_are_known_by_name() {
        let line = r#"{"reason":"compiler-artifact","executable":"/t/debug/udp-test"}"#;
        let said = Said::read([line, "noise"]);
        assert_eq!(
            said.executables["udp-test"],
            PathBuf::from("/t/debug/udp-test")
        );
    }
}
