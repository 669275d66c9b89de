//! Words, numbers and signs, each with its place.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// Letters, digits, `_`, `-` and `.`, beginning with a letter.
    Word(String),
    Number(f64),
    Percent,
    Open,
    Close,
    AtLeast,
    AtMost,
    /// A character, or several, that no expression has.
    Odd(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Spanned {
    pub token: Token,
    pub span: Range<usize>,
}

pub fn tokens(text: &str) -> Vec<Spanned> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        let mut take_while = |belongs: fn(char) -> bool| {
            let mut end = start + c.len_utf8();
            while let Some((at, next)) = rest.next_if(|(_, next)| belongs(*next)) {
                end = at + next.len_utf8();
            }
            end
        };
        let (token, end) = match c {
            c if c.is_whitespace() => continue,
            '(' => (Token::Open, start + 1),
            ')' => (Token::Close, start + 1),
            '%' => (Token::Percent, start + 1),
            '≥' => (Token::AtLeast, start + c.len_utf8()),
            '≤' => (Token::AtMost, start + c.len_utf8()),
            c if c.is_ascii_alphabetic() => {
                let end =
                    take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
                (Token::Word(text[start..end].to_owned()), end)
            }
            c if c.is_ascii_digit() => {
                let end = take_while(|c| c.is_ascii_digit() || c == '.');
                let written = &text[start..end];
                let token = written
                    .parse()
                    .map_or_else(|_| Token::Odd(written.to_owned()), Token::Number);
                (token, end)
            }
            _ => {
                let end = take_while(|c| matches!(c, '=' | '<' | '>' | '&' | '|' | '!'));
                (sign(&text[start..end]), end)
            }
        };
        found.push(Spanned {
            token,
            span: start..end,
        });
    }
    found
}

fn sign(written: &str) -> Token {
    match written {
        ">=" | ">" => Token::AtLeast,
        "<=" | "<" => Token::AtMost,
        odd => Token::Odd(odd.to_owned()),
    }
}
