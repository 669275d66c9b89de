//! What is to be tested, how it is judged, what is to be kept: from the command
//! line where it says so, else asked.

use std::io::{BufRead, IsTerminal, Write};

use miette::IntoDiagnostic;
use model::config::{Choice, Config, CriteriaMode, FULL_SUITE, ProofMode, UnknownChoice};
use model::suite::Suite;

/// The four words of `start`, as far as they were given.
#[derive(Debug, Default, clap::Args)]
pub struct Words {
    /// What is tested: ant-quic, or another project of the config
    pub project: Option<String>,
    /// connectivity, nat-traversal or another suite of the project, or full-suite
    pub focus: Option<String>,
    /// all-pass, threshold, improvement or custom
    pub criteria: Option<String>,
    /// logs, metrics, manual-verify or all-evidence
    pub proof: Option<String>,
    /// What has to hold, with the criteria custom: 'nat_traversed >= 80 and p95(connect_ms) <= 400'
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "against")]
    pub criteria_expr: Option<String>,
    /// The run to improve on, with the criteria improvement; by default the newest that fits
    #[arg(long, value_name = "RUN")]
    pub against: Option<String>,
}

pub struct Answers {
    pub project: String,
    pub focus: String,
    pub suites: Vec<Suite>,
    pub criteria: CriteriaMode,
    /// For `custom`.
    pub expression: Option<String>,
    pub proof: ProofMode,
}

impl Answers {
    pub fn gather(words: &Words, config: &Config) -> miette::Result<Self> {
        let project = project(words.project.as_deref(), config)?;
        let (focus, suites) = focus(words.focus.as_deref(), config, &project)?;
        let given = words.criteria.as_deref().or(of_flags(words));
        let criteria = choice(given, "What result indicates success?")?;
        Ok(Self {
            project,
            focus,
            suites,
            expression: expression(words, config, criteria)?,
            criteria,
            proof: choice(words.proof.as_deref(), "How should success be proven?")?,
        })
    }
}

fn project(given: Option<&str>, config: &Config) -> miette::Result<String> {
    let projects = config.projects();
    let word = match given {
        Some(word) => word.to_owned(),
        None => {
            let list: Vec<(&str, &str)> = projects.iter().map(|name| (*name, "")).collect();
            ask("project", "Which project are you testing?", &list)?
        }
    };
    match config.module_of(&word) {
        Some(_) => Ok(word),
        None => Err(UnknownChoice::new("project", &word, projects.into_iter()).into()),
    }
}

/// The suites that the project's module has, and all of them together.
fn focus(
    given: Option<&str>,
    config: &Config,
    project: &str,
) -> miette::Result<(String, Vec<Suite>)> {
    let (_, module) = config
        .module_of(project)
        .ok_or_else(|| miette::miette!("no module tests `{project}`"))?;
    let word = match given {
        Some(word) => word.to_owned(),
        None => {
            let suites = config.suites_of(module);
            let mut list: Vec<(&str, &str)> = suites
                .iter()
                .map(|suite| (suite.name.as_str(), suite.does.as_str()))
                .collect();
            list.push((FULL_SUITE, "All tests in sequence"));
            ask(
                "focus",
                "What specific functionality are you testing?",
                &list,
            )?
        }
    };
    let suites = config.focus(module, &word)?;
    Ok((word, suites))
}

/// A flag that only one kind of criteria has names it.
fn of_flags(words: &Words) -> Option<&'static str> {
    let custom = words.criteria_expr.as_ref().map(|_| "custom");
    custom.or(words.against.as_ref().map(|_| "improvement"))
}

/// From the command line, else from the config, else asked.
fn expression(
    words: &Words,
    config: &Config,
    criteria: CriteriaMode,
) -> miette::Result<Option<String>> {
    for (flag, given, wants) in [
        (
            "--criteria-expr",
            &words.criteria_expr,
            CriteriaMode::Custom,
        ),
        ("--against", &words.against, CriteriaMode::Improvement),
    ] {
        if given.is_some() && criteria != wants {
            miette::bail!(
                help = "leave one of the two out",
                "{flag} belongs to other criteria than those that are named"
            );
        }
    }
    if criteria != CriteriaMode::Custom {
        return Ok(None);
    }
    let known = words.criteria_expr.clone();
    if let Some(text) = known.or_else(|| config.criteria.custom.clone()) {
        return Ok(Some(text));
    }
    if !std::io::stdin().is_terminal() {
        miette::bail!(
            help = "give --criteria-expr 'nat_traversed >= 80 and p95(connect_ms) <= 400', or criteria.custom in the config",
            "which custom criteria? neither the command line nor the config says"
        );
    }
    println!("What has to hold? Such as nat_traversed >= 80 and p95(connect_ms) <= 400");
    read_line("criteria: ").map(Some)
}

fn choice<T: Choice>(given: Option<&str>, question: &str) -> miette::Result<T> {
    let word = match given {
        Some(word) => word.to_owned(),
        None => {
            let list: Vec<(&str, &str)> = T::ALL
                .iter()
                .map(|(_, word, means)| (*word, *means))
                .collect();
            ask(T::WHAT, question, &list)?
        }
    };
    Ok(T::parse(&word)?)
}

/// One question; the answer is a number or a word of the list.
fn ask(what: &str, question: &str, list: &[(&str, &str)]) -> miette::Result<String> {
    let words: Vec<&str> = list.iter().map(|(word, _)| *word).collect();
    if !std::io::stdin().is_terminal() {
        let help = format!("it is one of {}", words.join(", "));
        return Err(miette::miette!(
            help = help,
            "which {what}? the command line names none"
        ));
    }
    println!("{question}");
    for (number, (word, means)) in list.iter().enumerate() {
        println!("  {} {word:<14} {means}", number + 1);
    }
    let answer = read_line(&format!("{what}: "))?;
    let by_number = answer
        .parse::<usize>()
        .ok()
        .and_then(|n| words.get(n.checked_sub(1)?));
    Ok(by_number.map_or(answer.clone(), |word| (*word).to_owned()))
}

/// Whether to go on with what was shown.
pub fn confirm() -> miette::Result<bool> {
    if !std::io::stdin().is_terminal() {
        miette::bail!(
            help = "--yes goes on without asking",
            "nobody is there to confirm the plan"
        );
    }
    Ok(matches!(
        read_line("Ready to proceed? [y/N] ")?.as_str(),
        "y" | "yes" | "proceed"
    ))
}

fn read_line(prompt: &str) -> miette::Result<String> {
    print!("{prompt}");
    std::io::stdout().flush().into_diagnostic()?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .into_diagnostic()?;
    Ok(line.trim().to_owned())
}
