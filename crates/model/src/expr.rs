//! Criteria in one's own words: `nat_traversed >= 80 and p95(connect_ms) <= 400`.
//!
//! ```text
//! expression  = all ( "or" all )*
//! all         = comparison ( "and" comparison )*
//! comparison  = "(" expression ")" | quantity ( ">=" | ">" | "<=" | "<" ) number [ unit ] [ "margin" number ]
//! quantity    = rate | "p" NN "(" samples ")" | "median(" samples ")"
//! rate, samples = [ suite "." ] measure
//! ```
//!
//! Reading is all that happens here; `judge::expression` says what holds.

mod read;
mod token;

pub use read::ExprError;

use crate::measure::{MeasureDef, Unit};
use crate::suite::{Suite, SuiteName};

/// An expression whose every word is known to the suites it was read against.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare(Comparison),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub suite: SuiteName,
    pub measure: String,
    pub of: Of,
    pub side: Side,
    pub bound: f64,
    pub unit: Unit,
    /// Of a rate: how far beyond the bound is to be refused, in percentage points.
    pub margin: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Of {
    Rate,
    /// Between 0 and 1.
    Quantile(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    AtLeast,
    AtMost,
}

/// Percentage points that a rate's comparison refuses beyond its bound, where
/// neither it nor the measure's definition says.
pub const DEFAULT_MARGIN: f64 = 5.0;

impl Expr {
    /// Reads an expression about these suites' measures.
    ///
    /// # Errors
    /// What is wrong with it, where, and what was probably meant.
    pub fn read(text: &str, suites: &[Suite]) -> Result<Self, ExprError> {
        read::read(text, suites)
    }

    /// Each comparison, from left to right.
    pub fn comparisons(&self) -> Vec<&Comparison> {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().flat_map(Self::comparisons).collect()
            }
            Self::Compare(comparison) => vec![comparison],
        }
    }

    /// What all of it has to hold for the whole to hold.
    pub fn conjuncts(&self) -> Vec<&Self> {
        match self {
            Self::All(parts) => parts.iter().flat_map(Self::conjuncts).collect(),
            Self::Any(_) | Self::Compare(_) => vec![self],
        }
    }
}

impl std::fmt::Display for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (parts, word) = match self {
            Self::Compare(comparison) => return write!(f, "{comparison}"),
            Self::All(parts) => (parts, " and "),
            Self::Any(parts) => (parts, " or "),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(word)?;
            }
            match part {
                Self::Compare(comparison) => write!(f, "{comparison}")?,
                other => write!(f, "({other})")?,
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = match self.side {
            Side::AtLeast => ">=",
            Side::AtMost => "<=",
        };
        write!(f, "{} {side} {}", self.quantity(), self.bound)
    }
}

impl Comparison {
    /// `nat_traversed`, `p95(connect_ms)`.
    pub fn quantity(&self) -> String {
        match self.of {
            Of::Rate => self.measure.clone(),
            Of::Quantile(q) => format!("p{}({})", percent(q), self.measure),
        }
    }
}

/// 0.95 as 95, without the noise of binary fractions.
fn percent(q: f64) -> f64 {
    (q * 1e5).round() / 1e3
}

/// A measure's default margin, where its definition has one.
fn margin_of(def: &MeasureDef) -> f64 {
    def.margin.unwrap_or(DEFAULT_MARGIN)
}
