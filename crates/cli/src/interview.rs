//! What is to be tested, how it is judged, what is to be kept: from the command
//! line where it says so, else asked.

mod dialogue;

use std::io::IsTerminal;

use model::config::{Choice, Config, CriteriaMode, Focus, ProofMode, UnknownChoice, about_project};

use self::dialogue::{Dialogue, Item, Question};

/// The four words of `start`, as far as they were given.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct Words {
    /// What is tested: ant-quic, or another project of the config
    pub project: Option<String>,
    /// connectivity, nat-traversal, gossip, throughput or full-suite
    pub focus: Option<String>,
    /// all-pass, threshold, improvement or custom
    pub criteria: Option<String>,
    /// logs, metrics, manual-verify or all-evidence
    pub proof: Option<String>,
}

/// Where an answer came from, as the summary says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Parameter,
    Interview,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Parameter => "from parameter",
            Self::Interview => "confirmed via interview",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    pub value: T,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    pub project: Answer<String>,
    pub focus: Answer<Focus>,
    pub criteria: Answer<CriteriaMode>,
    pub proof: Answer<ProofMode>,
}

/// What is done with a plan that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Proceed,
    Modify,
    Cancel,
}

const DECISIONS: [(Decision, &str, &str); 3] = [
    (Decision::Proceed, "proceed", "Yes, start the test loop"),
    (Decision::Modify, "modify", "No, I want to change something"),
    (Decision::Cancel, "cancel", "Cancel and exit"),
];

impl Answers {
    /// Asks for what is missing, where somebody is there to answer.
    pub fn gather(words: &Words, yes: bool, config: &Config) -> miette::Result<Self> {
        check_given(words, config)?;
        let missing = missing(words, config);
        if let Some((what, known)) = missing.first() {
            if yes {
                return Err(all_four(&missing));
            }
            if !std::io::stdin().is_terminal() {
                let help = format!("it is one of {known}");
                return Err(miette::miette!(
                    help = help,
                    "which {what}? the command line names none"
                ));
            }
        }
        Self::ask(words, None, config, &mut Dialogue::of_terminal())
    }

    /// All four again, with these as defaults.
    pub fn again(&self, config: &Config) -> miette::Result<Self> {
        Self::ask(
            &Words::default(),
            Some(self),
            config,
            &mut Dialogue::of_terminal(),
        )
    }

    pub fn words(&self) -> [&str; 4] {
        [
            &self.project.value,
            self.focus.value.word(),
            self.criteria.value.word(),
            self.proof.value.word(),
        ]
    }

    fn ask(
        words: &Words,
        before: Option<&Self>,
        config: &Config,
        dialogue: &mut Dialogue<'_>,
    ) -> miette::Result<Self> {
        Ok(Self {
            project: project(
                words.project.as_deref(),
                before.map(|a| a.project.value.as_str()),
                config,
                dialogue,
            )?,
            focus: choice(
                words.focus.as_deref(),
                before.map(|a| a.focus.value),
                dialogue,
            )?,
            criteria: choice(
                words.criteria.as_deref(),
                before.map(|a| a.criteria.value),
                dialogue,
            )?,
            proof: choice(
                words.proof.as_deref(),
                before.map(|a| a.proof.value),
                dialogue,
            )?,
        })
    }
}

/// A word that is wrong is said at once, not after three questions.
fn check_given(words: &Words, config: &Config) -> miette::Result<()> {
    if let Some(word) = &words.project
        && config.module_of(word).is_none()
    {
        return Err(UnknownChoice::new("project", word, config.projects().into_iter()).into());
    }
    words.focus.as_deref().map(Focus::parse).transpose()?;
    words
        .criteria
        .as_deref()
        .map(CriteriaMode::parse)
        .transpose()?;
    words.proof.as_deref().map(ProofMode::parse).transpose()?;
    Ok(())
}

/// What each missing word may be.
fn missing(words: &Words, config: &Config) -> Vec<(&'static str, String)> {
    let all = [
        (&words.project, "project", config.projects().join(", ")),
        (&words.focus, Focus::WHAT, known::<Focus>()),
        (&words.criteria, CriteriaMode::WHAT, known::<CriteriaMode>()),
        (&words.proof, ProofMode::WHAT, known::<ProofMode>()),
    ];
    all.into_iter()
        .filter(|(given, ..)| given.is_none())
        .map(|(_, what, known)| (what, known))
        .collect()
}

fn known<T: Choice>() -> String {
    let words: Vec<&str> = T::ALL.iter().map(|(_, word, _)| *word).collect();
    words.join(", ")
}

fn all_four(missing: &[(&str, String)]) -> miette::Report {
    let names: Vec<&str> = missing.iter().map(|(what, _)| *what).collect();
    let lines: Vec<String> = missing
        .iter()
        .map(|(what, known)| format!("{what}: {known}"))
        .collect();
    miette::miette!(
        help = lines.join("\n"),
        "`--yes` needs all four words; missing: {}",
        names.join(", ")
    )
}

fn project(
    given: Option<&str>,
    before: Option<&str>,
    config: &Config,
    dialogue: &mut Dialogue<'_>,
) -> miette::Result<Answer<String>> {
    if let Some(word) = given {
        return Ok(Answer {
            value: word.to_owned(),
            origin: Origin::Parameter,
        });
    }
    let items: Vec<Item<'_>> = config
        .projects()
        .into_iter()
        .map(|word| Item {
            word,
            means: about_project(word).unwrap_or_default(),
        })
        .collect();
    let word = dialogue.ask(&Question {
        header: "Project",
        question: "Which project are you testing?",
        items: &items,
        default: before,
    })?;
    Ok(Answer {
        value: word.to_owned(),
        origin: Origin::Interview,
    })
}

fn choice<T: Choice + PartialEq>(
    given: Option<&str>,
    before: Option<T>,
    dialogue: &mut Dialogue<'_>,
) -> miette::Result<Answer<T>> {
    if let Some(word) = given {
        return Ok(Answer {
            value: T::parse(word)?,
            origin: Origin::Parameter,
        });
    }
    let items: Vec<Item<'_>> = T::ALL
        .iter()
        .map(|(_, word, means)| Item { word, means })
        .collect();
    let word = dialogue.ask(&Question {
        header: T::HEADER,
        question: T::QUESTION,
        items: &items,
        default: before.map(T::word),
    })?;
    Ok(Answer {
        value: T::parse(word)?,
        origin: Origin::Interview,
    })
}

/// What to do with the plan that was shown.
pub fn decide() -> miette::Result<Decision> {
    somebody_is_there("confirm the plan")?;
    decide_in(&mut Dialogue::of_terminal())
}

fn decide_in(dialogue: &mut Dialogue<'_>) -> miette::Result<Decision> {
    let items = DECISIONS.map(|(_, word, means)| Item { word, means });
    let word = dialogue.ask(&Question {
        header: "Confirm",
        question: "Confirm test plan and proceed?",
        items: &items,
        default: None,
    })?;
    let found = DECISIONS.iter().find(|(_, known, _)| *known == word);
    Ok(found.map_or(Decision::Cancel, |(decision, ..)| *decision))
}

/// Whether to go on with what was shown.
pub fn confirm() -> miette::Result<bool> {
    somebody_is_there("confirm it")?;
    let answer = Dialogue::of_terminal().line("Ready to proceed? [y/N] ")?;
    Ok(matches!(answer.as_str(), "y" | "yes" | "proceed"))
}

fn somebody_is_there(to: &str) -> miette::Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(miette::miette!(
        help = "--yes goes on without asking",
        "nobody is there to {to}"
    ))
}

#[cfg(test)]
mod tests;
