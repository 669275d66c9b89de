//! From text to an expression, or to what is wrong with it.

use std::ops::Range;

use miette::SourceSpan;

use super::token::{Spanned, Token, tokens};
use super::{Comparison, Expr, Of, Side, margin_of};
use crate::measure::{Kind, MeasureDef};
use crate::problem::did_you_mean;
use crate::suite::{Suite, SuiteName};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("criteria, column {column}: {message}")]
pub struct ExprError {
    pub message: String,
    /// From 1.
    pub column: usize,
    #[source_code]
    text: String,
    #[label("here")]
    span: SourceSpan,
    #[help]
    pub help: String,
}

/// What is wrong, before it is told in whose text.
struct Fault {
    span: Range<usize>,
    message: String,
    help: String,
}

type Read<T> = Result<T, Fault>;

pub fn read(text: &str, suites: &[Suite]) -> Result<Expr, ExprError> {
    let mut reader = Reader {
        tokens: tokens(text),
        next: 0,
        end: text.len(),
        suites,
    };
    reader.whole().map_err(|fault| ExprError {
        column: text[..fault.span.start].chars().count() + 1,
        message: fault.message,
        text: text.to_owned(),
        span: fault.span.into(),
        help: fault.help,
    })
}

struct Reader<'a> {
    tokens: Vec<Spanned>,
    next: usize,
    end: usize,
    suites: &'a [Suite],
}

impl<'a> Reader<'a> {
    fn whole(&mut self) -> Read<Expr> {
        let expr = self.any()?;
        match self.peek() {
            None => Ok(expr),
            Some(Token::Close) => Err(self.fault("`)` closes nothing", "leave it out")),
            Some(_) => Err(self.fault(
                format!("{} where the expression could end", self.here()),
                "join comparisons with `and` or `or`",
            )),
        }
    }

    fn any(&mut self) -> Read<Expr> {
        let first = self.all()?;
        self.joined("or", first, Self::all, Expr::Any)
    }

    fn all(&mut self) -> Read<Expr> {
        let first = self.one()?;
        self.joined("and", first, Self::one, Expr::All)
    }

    fn joined(
        &mut self,
        word: &str,
        first: Expr,
        part: fn(&mut Self) -> Read<Expr>,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Read<Expr> {
        let mut parts = vec![first];
        while self.take_word(word) {
            parts.push(part(self)?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => join(parts),
        })
    }

    fn one(&mut self) -> Read<Expr> {
        if self.peek() != Some(&Token::Open) {
            return self.comparison().map(Expr::Compare);
        }
        let opened = self.span();
        self.next += 1;
        let inner = self.any()?;
        if self.peek() != Some(&Token::Close) {
            return Err(Fault {
                span: opened,
                message: "`(` is not closed".into(),
                help: "add a `)`".into(),
            });
        }
        self.next += 1;
        Ok(inner)
    }

    fn comparison(&mut self) -> Read<Comparison> {
        let began = self.span();
        let word = self.word()?;
        let quantile = (self.peek() == Some(&Token::Open))
            .then(|| {
                let q = quantile(&word).ok_or_else(|| unknown_function(&began, &word))?;
                self.next += 1;
                Ok(q)
            })
            .transpose()?;
        let (name_span, name) = match quantile {
            None => (began, word),
            Some(_) => {
                let span = self.span();
                let name = self.word()?;
                if self.peek() != Some(&Token::Close) {
                    return Err(self.fault(
                        format!("{} where `)` should close the function", self.here()),
                        "functions take one measure: `p95(connect_ms)`",
                    ));
                }
                self.next += 1;
                (span, name)
            }
        };
        let (suite, def) = self.resolve(&name, &name_span)?;
        let of = of(def, quantile, &name_span)?;
        let side = self.side()?;
        let (bound_span, bound) = self.number("a number to compare with")?;
        self.unit(def)?;
        let margin = if self.take_word("margin") {
            Some(self.number("how many percentage points")?)
        } else {
            None
        };
        let comparison = Comparison {
            suite,
            measure: def.name.clone(),
            of,
            side,
            bound,
            unit: def.unit,
            margin: margin.as_ref().map_or_else(|| margin_of(def), |(_, m)| *m),
        };
        check_rate(&comparison, bound_span, margin.map(|(span, _)| span))?;
        Ok(comparison)
    }

    fn resolve(&self, name: &str, span: &Range<usize>) -> Read<(SuiteName, &'a MeasureDef)> {
        let suites: &'a [Suite] = self.suites;
        let all = || {
            suites
                .iter()
                .flat_map(|suite| suite.measures.iter().map(move |def| (&suite.name, def)))
        };
        let is_meant = |suite: &SuiteName, def: &MeasureDef| {
            def.name == name || format!("{suite}.{}", def.name) == name
        };
        let found: Vec<_> = all().filter(|(suite, def)| is_meant(suite, def)).collect();
        match found.as_slice() {
            [(suite, def)] => Ok(((*suite).clone(), def)),
            [] => {
                let names = all().map(|(_, def)| def.name.as_str());
                let mut known: Vec<&str> = names.clone().collect();
                known.sort_unstable();
                known.dedup();
                let list = format!("these suites measure {}", known.join(", "));
                let help = match did_you_mean(name, names) {
                    Some(near) => format!("did you mean `{near}`? {list}"),
                    None => list,
                };
                Err(Fault {
                    span: span.clone(),
                    message: format!("there is no measure `{name}`"),
                    help,
                })
            }
            several => {
                let full: Vec<String> = several
                    .iter()
                    .map(|(suite, def)| format!("`{suite}.{}`", def.name))
                    .collect();
                Err(Fault {
                    span: span.clone(),
                    message: format!("`{name}` is measured by several suites"),
                    help: format!("write {}", full.join(" or ")),
                })
            }
        }
    }

    fn side(&mut self) -> Read<Side> {
        let side = match self.peek() {
            Some(Token::AtLeast) => Side::AtLeast,
            Some(Token::AtMost) => Side::AtMost,
            _ => {
                return Err(self.fault(
                    format!("{} where a comparison should stand", self.here()),
                    "write >= or <=: nothing that is measured is exactly equal to anything",
                ));
            }
        };
        self.next += 1;
        Ok(side)
    }

    fn number(&mut self, what: &str) -> Read<(Range<usize>, f64)> {
        let span = self.span();
        match self.peek() {
            Some(Token::Number(number)) => {
                let number = *number;
                self.next += 1;
                Ok((span, number))
            }
            _ => Err(self.fault(
                format!("{} where {what} should stand", self.here()),
                "such as 80 or 99.5; measures stand to the left",
            )),
        }
    }

    /// A unit may be written, and has to be the measure's.
    fn unit(&mut self, def: &MeasureDef) -> Read<()> {
        let written = match self.peek() {
            Some(Token::Percent) => "%".to_owned(),
            Some(Token::Word(word)) if !matches!(word.as_str(), "and" | "or" | "margin") => {
                word.clone()
            }
            _ => return Ok(()),
        };
        if written != def.unit.to_string() {
            return Err(self.fault(
                format!(
                    "`{}` is measured in {}, not in {written}",
                    def.name, def.unit
                ),
                "join comparisons with `and` or `or`, or leave the unit out",
            ));
        }
        self.next += 1;
        Ok(())
    }

    fn word(&mut self) -> Read<String> {
        match self.peek() {
            Some(Token::Word(word)) if !matches!(word.as_str(), "and" | "or" | "margin") => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => Err(self.fault(
                format!("{} where a measure should stand", self.here()),
                "a comparison is such as `nat_traversed >= 80` or `p95(connect_ms) <= 400`",
            )),
        }
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(word)) if word == wanted);
        self.next += usize::from(is);
        is
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|spanned| &spanned.token)
    }

    fn span(&self) -> Range<usize> {
        self.tokens
            .get(self.next)
            .map_or(self.end..self.end, |spanned| spanned.span.clone())
    }

    fn here(&self) -> String {
        match self.peek() {
            None => "the end".into(),
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Number(number)) => format!("`{number}`"),
            Some(Token::Percent) => "`%`".into(),
            Some(Token::Open) => "`(`".into(),
            Some(Token::Close) => "`)`".into(),
            Some(Token::AtLeast) => "`>=`".into(),
            Some(Token::AtMost) => "`<=`".into(),
            Some(Token::Odd(odd)) => format!("`{odd}`"),
        }
    }

    fn fault(&self, message: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault {
            span: self.span(),
            message: message.into(),
            help: help.into(),
        }
    }
}

/// `p95`, `p99.9`, `median`.
fn quantile(word: &str) -> Option<f64> {
    if word == "median" {
        return Some(0.5);
    }
    let percent: f64 = word.strip_prefix('p')?.parse().ok()?;
    (0.0 < percent && percent < 100.0).then_some(percent / 100.0)
}

fn unknown_function(span: &Range<usize>, word: &str) -> Fault {
    let help = match word {
        "mean" | "avg" | "average" => {
            "a mean says nothing of the slowest: write median(…) or p95(…)"
        }
        "min" | "max" => "a single value proves nothing of the next one: write p1(…) or p99(…)",
        _ => "there are median(…) and quantiles from p1(…) to p99.9(…)",
    };
    Fault {
        span: span.clone(),
        message: format!("there is no function `{word}`"),
        help: help.into(),
    }
}

fn of(def: &MeasureDef, quantile: Option<f64>, span: &Range<usize>) -> Read<Of> {
    let fault = |message: String, help: String| Fault {
        span: span.clone(),
        message,
        help,
    };
    match (def.kind, quantile) {
        (Kind::Rate, None) => Ok(Of::Rate),
        (Kind::Samples, Some(q)) => Ok(Of::Quantile(q)),
        (Kind::Rate, Some(_)) => Err(fault(
            format!("`{}` is a rate and has no quantiles", def.name),
            format!("write `{} >= 80`", def.name),
        )),
        (Kind::Samples, None) => Err(fault(
            format!("`{}` is many numbers", def.name),
            format!(
                "say which of them counts: `p95({})` or `median({})`",
                def.name, def.name
            ),
        )),
    }
}

fn check_rate(
    comparison: &Comparison,
    bound: Range<usize>,
    margin: Option<Range<usize>>,
) -> Read<()> {
    if let Of::Quantile(_) = comparison.of {
        return match margin {
            None => Ok(()),
            Some(span) => Err(Fault {
                span,
                message: "a quantile has no margin".into(),
                help: "it is judged by its interval alone: leave it out".into(),
            }),
        };
    }
    if !(0.0..=100.0).contains(&comparison.bound) {
        return Err(Fault {
            span: bound,
            message: format!("{} is not a percentage", comparison.bound),
            help: "give a number from 0 to 100".into(),
        });
    }
    let room = match comparison.side {
        Side::AtLeast => comparison.bound,
        Side::AtMost => 100.0 - comparison.bound,
    };
    if comparison.margin > 0.0 && comparison.margin < room {
        return Ok(());
    }
    Err(Fault {
        span: margin.unwrap_or(bound),
        message: format!(
            "a margin of {} leaves nothing to tell from {}",
            comparison.margin, comparison.bound
        ),
        help: format!("write `margin N` with N above 0 and below {room}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::built_in;

    fn parsed(text: &str) -> Result<String, String> {
        let connectivity = &built_in()[..1];
        read(text, connectivity)
            .map(|expr| expr.to_string())
            .map_err(|e| format!("{e} | {}", e.help))
    }

    #[test]
    fn the_requests_example_reads_as_it_was_written() {
        let text = "nat_traversed >= 80 and p95(connect_ms) <= 400";
        assert_eq!(parsed(text).unwrap(), text);
    }

    #[test]
    fn and_binds_tighter_than_or() {
        let text = "direct >= 99 or relay >= 90 and median(connect_ms) < 50ms";
        assert_eq!(
            parsed(text).unwrap(),
            "direct >= 99 or (relay >= 90 and p50(connect_ms) <= 50)"
        );
        assert_eq!(
            parsed("(direct >= 99 or relay >= 90) and direct >= 50 margin 7").unwrap(),
            "(direct >= 99 or relay >= 90) and direct >= 50"
        );
    }

    #[test]
    fn what_is_wrong_is_said_where_it_is() {
        for (text, column, message, help) in [
            (
                "nat_traversd >= 80",
                1,
                "there is no measure `nat_traversd`",
                "did you mean `nat_traversed`?",
            ),
            (
                "direct >= 99 and connect_ms <= 4",
                18,
                "is many numbers",
                "`p95(connect_ms)`",
            ),
            ("p95(direct) >= 9", 5, "is a rate", "write `direct >= 80`"),
            (
                "mean(connect_ms) <= 4",
                1,
                "no function `mean`",
                "median(…)",
            ),
            (
                "p95(connect_ms) <= 400s",
                23,
                "measured in ms, not in s",
                "leave the unit out",
            ),
            (
                "direct == 99",
                8,
                "`==` where a comparison",
                "exactly equal",
            ),
            ("direct >= ", 11, "the end where a number", "such as 80"),
            (
                "80 <= direct",
                1,
                "`80` where a measure",
                "nat_traversed >= 80",
            ),
            (
                "direct >= 120",
                11,
                "120 is not a percentage",
                "from 0 to 100",
            ),
            ("direct >= 99 margin 0", 21, "leaves nothing", "above 0"),
            ("(direct >= 99", 1, "is not closed", "add a `)`"),
            ("direct >= 99)", 13, "closes nothing", "leave it out"),
            (
                "direct >= 99 relay >= 9",
                14,
                "measured in %, not in relay",
                "`and`",
            ),
            ("", 1, "the end where a measure", "such as"),
            (
                "direct >= 9.9.9",
                11,
                "`9.9.9` where a number",
                "such as 80",
            ),
        ] {
            let error = parsed(text).unwrap_err();
            let starts = format!("criteria, column {column}: ");
            assert!(
                error.starts_with(&starts) && error.contains(message) && error.contains(help),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn two_suites_with_one_name_must_be_told_apart() {
        let suites = built_in();
        let error = read("nat_traversed >= 80", &suites[..2]).unwrap_err();
        assert!(
            error.help.contains("`nat-traversal.nat_traversed`"),
            "{error:?}"
        );
        read("nat-traversal.nat_traversed >= 80", &suites[..2]).unwrap();
    }
}
