//! What is wrong with a file a person wrote: the line, and what to do about it.

use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

/// A file's name, for messages, and its text.
#[derive(Debug, Clone)]
pub struct Source {
    named: NamedSource<Arc<String>>,
    text: Arc<String>,
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        let text = Arc::new(text.to_owned());
        Self {
            named: NamedSource::new(file, Arc::clone(&text)),
            text,
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// A problem with the given bytes of the text.
    pub fn problem(
        &self,
        offset: usize,
        length: usize,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem {
            message: message.into(),
            help: help.into(),
            source_code: self.named.clone(),
            at: SourceSpan::new(offset.into(), length),
        }
    }

    /// A problem with the first place where `token` stands as a whole word,
    /// or with the start of the file where it stands nowhere.
    pub fn problem_with(
        &self,
        token: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        let offset = find_word(&self.text, token);
        self.problem(
            offset.unwrap_or(0),
            offset.map_or(0, |_| token.len()),
            message,
            help,
        )
    }

    /// Reads YAML; an error keeps the parser's place and gains a remedy.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, Problems> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(self.text(), options)
            .map_err(|e| self.parse_problem(&e).into())
    }

    fn parse_problem(&self, error: &serde_saphyr::Error) -> Problem {
        let message = error.to_string();
        let message = message
            .split(" at line ")
            .next()
            .unwrap_or(&message)
            .to_owned();
        let offset = error
            .location()
            .map_or(0, |at| self.offset(at.line(), at.column()));
        let length = self.text[offset..].find([':', '\n', ',', '}']).unwrap_or(0);
        let help = unknown_key_help(&message, &self.text[offset..offset + length])
            .unwrap_or_else(|| "correct this line".to_owned());
        self.problem(offset, length, message, help)
    }

    /// Byte offset of a 1-based line and column (in characters).
    fn offset(&self, line: u64, column: u64) -> usize {
        let skip = usize::try_from(line.saturating_sub(1)).unwrap_or(0);
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(skip)
            .map(str::len)
            .sum();
        let rest = &self.text[start.min(self.text.len())..];
        let column = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
        start
            + rest
                .char_indices()
                .nth(column)
                .map_or(0, |(index, _)| index)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, Error, Diagnostic)]
#[error("{message}")]
pub struct Problem {
    pub message: String,
    #[help]
    help: String,
    #[source_code]
    source_code: NamedSource<Arc<String>>,
    #[label("here")]
    at: SourceSpan,
}

impl Problem {
    pub fn help(&self) -> &str {
        &self.help
    }

    /// 1-based.
    pub fn line(&self) -> usize {
        let text: &str = self.source_code.inner();
        text[..self.at.offset().min(text.len())]
            .matches('\n')
            .count()
            + 1
    }
}

/// All that is wrong with a file.
#[derive(Debug, Error, Diagnostic)]
#[error("{}", self.headline())]
pub struct Problems {
    #[related]
    pub all: Vec<Problem>,
}

impl Problems {
    fn headline(&self) -> String {
        let file = self.all.first().map_or("file", |p| p.source_code.name());
        match self.all.len() {
            1 => format!("`{file}` cannot be used"),
            n => format!("`{file}` cannot be used, for {n} reasons"),
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { all: vec![problem] }
    }
}

/// `Ok` where nothing is wrong.
pub fn none_or(all: Vec<Problem>) -> Result<(), Problems> {
    if all.is_empty() {
        Ok(())
    } else {
        Err(Problems { all })
    }
}

/// "did you mean `…`?" for the nearest of `known`, where one is near.
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(given, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The parser names an unknown key and the known ones in backticks.
fn unknown_key_help(message: &str, given: &str) -> Option<String> {
    if !message.contains("unknown") {
        return None;
    }
    let named = message.split('`').nth(1).unwrap_or(given);
    let known: Vec<&str> = message
        .split_once("expected one of ")
        .map_or_else(Vec::new, |(_, list)| {
            list.split(", ").map(|key| key.trim_matches('`')).collect()
        });
    match did_you_mean(named, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => Some(format!("remove `{named}`")),
        None => Some(format!("the keys known here are {}", known.join(", "))),
    }
}

fn find_word(text: &str, token: &str) -> Option<usize> {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
    text.match_indices(token)
        .map(|(index, _)| index)
        .find(|&i| {
            !is_part(text[..i].chars().next_back())
                && !is_part(text[i + token.len()..].chars().next())
        })
}
