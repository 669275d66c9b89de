//! What is to be shown again: an attempt, or what a suite of steps measured.

use model::attempt::{Attempt, Counted};
use model::inventory::NodeName;
use model::judge;
use model::measure::{Measured, Trial, Values};
use model::run::Run;
use model::suite::SuiteName;

pub enum Failure<'a> {
    Attempt(&'a Attempt),
    Measured(&'a Measured),
}

impl<'a> Failure<'a> {
    /// By its whole name, or by a part of it that no other has.
    pub fn find(run: &'a Run, word: &str) -> miette::Result<Self> {
        let all = Self::all(run);
        let exact: Vec<&Self> = all.iter().filter(|f| f.name() == word).collect();
        let found: Vec<&Self> = match exact.first() {
            Some(first) => vec![first],
            None => all.iter().filter(|f| f.name().contains(word)).collect(),
        };
        let failed: Vec<&Self> = all.iter().filter(|f| f.has_failed()).collect();
        let help = match failed.len() {
            0 => "nothing of this run has failed".to_owned(),
            count => format!("{count} failed: {}, …", names(&failed)),
        };
        match found.as_slice() {
            [] => Err(miette::miette!(
                help = help,
                "the run has no attempt `{word}`"
            )),
            [one] if one.has_failed() => Ok(one.again()),
            [one] => Err(miette::miette!(
                help = help,
                "{} succeeded: there is nothing to show again",
                one.name()
            )),
            some => Err(miette::miette!(
                help = format!("give more of its name: {}, …", names(some)),
                "`{word}` is a part of {} attempts' names",
                some.len()
            )),
        }
    }

    /// Every attempt, and of each measure and place the first failure.
    fn all(run: &'a Run) -> Vec<Self> {
        let mut all: Vec<Self> = run.attempts.iter().map(Self::Attempt).collect();
        let mut seen = std::collections::BTreeSet::new();
        for measured in &run.measured {
            let failure = Self::Measured(measured);
            if failure.has_failed() && seen.insert(failure.name()) {
                all.push(failure);
            }
        }
        all
    }

    fn again(&self) -> Self {
        match self {
            Self::Attempt(attempt) => Self::Attempt(attempt),
            Self::Measured(measured) => Self::Measured(measured),
        }
    }

    /// `stack-0.0-0041-1f`, or `membership/healed/saorsa-6`.
    pub fn name(&self) -> String {
        match self {
            Self::Attempt(attempt) => attempt.start.id.0.clone(),
            Self::Measured(measured) => {
                let places = measured.from.iter().chain(&measured.to);
                let places = places.map(|node| format!("/{node}"));
                let places: String = places.collect();
                format!("{}/{}{places}", measured.suite, measured.measure)
            }
        }
    }

    pub fn suite(&self) -> &SuiteName {
        match self {
            Self::Attempt(attempt) => &attempt.start.suite,
            Self::Measured(measured) => &measured.suite,
        }
    }

    pub fn cycle(&self) -> u32 {
        match self {
            Self::Attempt(attempt) => attempt.start.cycle,
            Self::Measured(measured) => measured.cycle,
        }
    }

    /// The nodes that it names, and no others.
    pub fn ends(&self) -> Vec<NodeName> {
        match self {
            Self::Attempt(attempt) => {
                let pair = &attempt.start.cell.pair;
                vec![pair.from.clone(), pair.to.clone()]
            }
            Self::Measured(measured) => {
                let named = measured.conditions.values().map(NodeName::new);
                let places = measured.from.iter().chain(&measured.to).cloned();
                places.chain(named).collect()
            }
        }
    }

    /// In a line, without why.
    pub fn what(&self) -> String {
        match self {
            Self::Attempt(attempt) => {
                let cell = &attempt.start.cell;
                format!("{}, {}", cell.pair, cell.category)
            }
            Self::Measured(measured) => {
                let conditions = measured.conditions.iter();
                let conditions = conditions.map(|(name, value)| format!(", {name} {value}"));
                let conditions: String = conditions.collect();
                format!("round {}{conditions}", measured.round + 1)
            }
        }
    }

    pub fn why(&self) -> String {
        match self {
            Self::Attempt(attempt) => judge::why(attempt).unwrap_or_default(),
            Self::Measured(measured) => measured.detail.clone().unwrap_or_default(),
        }
    }

    fn has_failed(&self) -> bool {
        match self {
            Self::Attempt(attempt) => attempt.verdict() != Counted::Success,
            Self::Measured(measured) => match &measured.values {
                Values::Outcomes(trials) => trials.iter().any(|t| *t != Trial::Success),
                Values::Samples(_) => false,
            },
        }
    }
}

fn names(failures: &[&Failure<'_>]) -> String {
    let names: Vec<String> = failures.iter().take(5).map(|f| f.name()).collect();
    names.join(", ")
}
