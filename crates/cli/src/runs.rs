//! The runs that a state directory holds, and the processes that are at them.

use std::path::{Path, PathBuf};

use engine::{Claim, Holder, RunDir};
use jiff::Timestamp;
use miette::IntoDiagnostic;
use model::run::Run;
use model::status::Status;

use crate::project::Project;

/// Where runs are kept, also from outside of any project.
pub fn state_dir() -> miette::Result<PathBuf> {
    match Project::find_if_any()? {
        Some(project) => Ok(project.state_dir()),
        None => Ok(crate::project::state_dir(None)),
    }
}

/// A project, its newest run, and who is at it.
pub struct Loop {
    pub project: String,
    pub holder: Option<Holder>,
    pub dir: Option<RunDir>,
    /// `None` where no journal is there yet; an error where it cannot be read.
    pub status: Option<Result<Status, String>>,
}

impl Loop {
    /// `None` where the project was never run.
    pub fn of(state_dir: &Path, project: &str, now: Timestamp) -> Option<Self> {
        let holder = Claim::holder(state_dir, project);
        let running = holder.as_ref().and_then(|holder| holder.run.clone());
        let dir = match (&holder, running) {
            (Some(_), run) => run.map(RunDir::open),
            (None, _) => Some(RunDir::all(state_dir, project).pop()?),
        };
        let status = dir
            .as_ref()
            .filter(|dir| dir.journal().exists())
            .map(|dir| match dir.replay() {
                Ok(run) => Status::of(&run, now).ok_or_else(|| "its journal is empty".to_owned()),
                Err(error) => Err(chain(&error)),
            });
        Some(Self {
            project: project.to_owned(),
            holder,
            dir,
            status,
        })
    }

    /// Every project's, those that run first.
    pub fn all(state_dir: &Path, now: Timestamp) -> Vec<Self> {
        let mut all: Vec<Self> = RunDir::projects(state_dir)
            .iter()
            .filter_map(|project| Self::of(state_dir, project, now))
            .collect();
        all.sort_by_key(|one| one.holder.is_none());
        all
    }

    pub fn is_alive(&self) -> bool {
        self.holder.is_some()
    }
}

/// `PROJECT` for its newest run, `PROJECT~1` for the one before, `PROJECT/RUN`, or
/// a run's directory.
pub fn find(state_dir: &Path, word: &str) -> miette::Result<RunDir> {
    let as_path = RunDir::open(Path::new(word));
    if as_path.journal().is_file() {
        return Ok(as_path);
    }
    if let Some((project, name)) = word.split_once('/') {
        let all = known(state_dir, project)?;
        let found = match name {
            "latest" => all.last().cloned(),
            _ => all.iter().find(|run| run.name() == name).cloned(),
        };
        return found.ok_or_else(|| {
            let names: Vec<String> = all.iter().rev().take(5).map(RunDir::name).collect();
            miette::miette!(
                help = format!("its newest are {}", names.join(", ")),
                "`{project}` has no run `{name}`"
            )
        });
    }
    let (project, back) = match word.split_once('~') {
        Some((project, back)) => (project, back.parse::<usize>().into_diagnostic()?),
        None => (word, 0),
    };
    let all = known(state_dir, project)?;
    all.iter().rev().nth(back).cloned().ok_or_else(|| {
        miette::miette!(
            help = format!("`vps-test history {project}` lists them"),
            "`{project}` has {} runs, so there is no `{word}`",
            all.len()
        )
    })
}

/// A project's runs, oldest first; at least one.
pub fn known(state_dir: &Path, project: &str) -> miette::Result<Vec<RunDir>> {
    let all = RunDir::all(state_dir, project);
    if !all.is_empty() {
        return Ok(all);
    }
    let projects: Vec<String> = RunDir::projects(state_dir)
        .into_iter()
        .filter(|name| !RunDir::all(state_dir, name).is_empty())
        .collect();
    let help = match projects.as_slice() {
        [] => "nothing was run yet: `vps-test start` begins".to_owned(),
        some => format!("there are runs of {}", some.join(", ")),
    };
    Err(miette::miette!(
        help = help,
        "`{}` holds no run of `{project}`",
        state_dir.display()
    ))
}

/// # Errors
/// The journal cannot be read; the message says where.
pub fn replay(dir: &RunDir) -> miette::Result<Run> {
    dir.replay()
        .map_err(|error| crate::exit::Infrastructure::from_error(&error))
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}
