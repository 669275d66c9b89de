//! Questions with a list of answers, on a terminal.

use std::io::{BufRead, Write};

use miette::IntoDiagnostic;
use model::problem::did_you_mean;

use crate::screen::{Paint, Style};

pub struct Dialogue<'a> {
    input: Box<dyn BufRead + 'a>,
    output: Box<dyn Write + 'a>,
    paint: Paint,
}

pub struct Question<'a> {
    pub header: &'a str,
    pub question: &'a str,
    pub items: &'a [Item<'a>],
    /// What an empty line means.
    pub default: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    pub word: &'a str,
    pub means: &'a str,
}

impl<'a> Dialogue<'a> {
    pub fn of_terminal() -> Self {
        Self {
            input: Box::new(std::io::stdin().lock()),
            output: Box::new(std::io::stdout()),
            paint: Paint::detect(),
        }
    }

    #[cfg(test)]
    pub fn with(input: &'a [u8], output: &'a mut Vec<u8>) -> Self {
        Self {
            input: Box::new(input),
            output: Box::new(output),
            paint: Paint::Plain,
        }
    }

    /// Asks until the answer is a word of the list, its number, or its beginning.
    ///
    /// # Errors
    /// Nobody answers any more.
    pub fn ask<'q>(&mut self, question: &Question<'q>) -> miette::Result<&'q str> {
        let text = self.shown(question);
        self.say(&text)?;
        loop {
            let prompt = match question.default {
                Some(default) => format!("Number or word [{default}]: "),
                None => "Number or word: ".to_owned(),
            };
            let answer = self.line(&prompt)?;
            match question.understand(&answer) {
                Some(word) => return Ok(word),
                None => self.say(&format!("  {}\n", question.hint(&answer)))?,
            }
        }
    }

    fn shown(&self, question: &Question<'_>) -> String {
        let header = self.paint.text(Style::Strong, question.header);
        let mut text = format!("\n{header}\n{}\n", question.question);
        let width = question.items.iter().map(|i| i.word.len()).max();
        for (index, item) in question.items.iter().enumerate() {
            let word = format!("{:width$}", item.word, width = width.unwrap_or(0));
            let line = format!(
                "  {} {word}  {}",
                index + 1,
                self.paint.text(Style::Dim, item.means)
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub fn line(&mut self, prompt: &str) -> miette::Result<String> {
        self.say(prompt)?;
        let mut line = String::new();
        if self.input.read_line(&mut line).into_diagnostic()? == 0 {
            self.say("\n")?;
            miette::bail!("nobody answers: nothing was started");
        }
        Ok(line.trim().to_owned())
    }

    fn say(&mut self, text: &str) -> miette::Result<()> {
        let written = self.output.write_all(text.as_bytes());
        written.and_then(|()| self.output.flush()).into_diagnostic()
    }
}

impl<'a> Question<'a> {
    fn understand(&self, answer: &str) -> Option<&'a str> {
        if answer.is_empty() {
            return self.default;
        }
        let by_number = answer.parse::<usize>().ok();
        if let Some(number) = by_number {
            return Some(self.items.get(number.checked_sub(1)?)?.word);
        }
        let answer = answer.to_lowercase();
        let exact = self.items.iter().find(|item| item.word == answer);
        let mut begin = self
            .items
            .iter()
            .filter(|item| item.word.starts_with(&answer));
        exact
            .or_else(|| begin.next().filter(|_| begin.next().is_none()))
            .map(|item| item.word)
    }

    fn hint(&self, answer: &str) -> String {
        if answer.is_empty() {
            return format!(
                "a number from 1 to {}, or one of the words",
                self.items.len()
            );
        }
        match did_you_mean(answer, self.items.iter().map(|item| item.word)) {
            Some(near) => format!("`{answer}` is none of these; did you mean `{near}`?"),
            None => format!("`{answer}` is none of these"),
        }
    }
}
