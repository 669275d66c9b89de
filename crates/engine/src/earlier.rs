//! The earlier run that an `improvement` is measured against.

use std::path::{Path, PathBuf};

use model::baseline::Baseline;
use model::proof::Proof;
use model::suite::Suite;

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum EarlierError {
    #[error(
        "there is no earlier run of {project} with the focus {focus} on fleet {fleet} in `{dir}`"
    )]
    #[diagnostic(help(
        "start it once with the criteria `threshold`, change what you want to improve, and start again; or name a run with --against RUN"
    ))]
    None {
        project: String,
        focus: String,
        fleet: String,
        dir: PathBuf,
    },
    #[error("there is no run `{run}` with a proof: looked for `{path}`")]
    #[diagnostic(help("name a directory of `{}`, or give its path", dir.display()))]
    Unknown {
        run: String,
        path: PathBuf,
        dir: PathBuf,
    },
    #[error("`{path}` is no proof: {detail}")]
    Unreadable { path: PathBuf, detail: String },
    #[error("run {run} had the focus {was} on fleet {fleet_was}, this one has {is} on {fleet_is}")]
    #[diagnostic(help("only like is compared with like: take the same focus and fleet"))]
    Other {
        run: String,
        was: String,
        is: String,
        fleet_was: String,
        fleet_is: String,
    },
    #[error("run {run} measured nothing that this one measures")]
    #[diagnostic(help("it ended before its first attempt: name another one with --against RUN"))]
    Empty { run: String },
}

/// What is compared with.
pub struct Ask<'a> {
    /// Where the project's runs are.
    pub dir: PathBuf,
    pub project: &'a str,
    pub focus: &'a str,
    pub fleet: &'a str,
    pub suites: &'a [Suite],
    /// A run's name or directory; the newest that fits where absent.
    pub against: Option<&'a str>,
    pub margin: f64,
    pub tolerance: f64,
}

/// # Errors
/// There is no such run, or it cannot be compared with.
pub fn baseline(ask: &Ask<'_>) -> Result<Baseline, EarlierError> {
    let (run, proof) = match ask.against {
        Some(run) => named(ask, run)?,
        None => newest(ask)?,
    };
    let found = Baseline::of(
        run.clone(),
        ask.suites,
        &proof.last_yield(),
        ask.margin,
        ask.tolerance,
    );
    if found.is_empty() {
        return Err(EarlierError::Empty { run });
    }
    Ok(found)
}

fn named(ask: &Ask<'_>, run: &str) -> Result<(String, Proof), EarlierError> {
    let beside = ask.dir.join(run);
    let dir = if beside.is_dir() {
        beside
    } else {
        PathBuf::from(run)
    };
    let path = dir.join("proof.json");
    if !path.exists() {
        return Err(EarlierError::Unknown {
            run: run.to_owned(),
            path,
            dir: ask.dir.clone(),
        });
    }
    let proof = read(&path)?;
    if fits(ask, &proof) {
        return Ok((name_of(&dir), proof));
    }
    Err(EarlierError::Other {
        run: run.to_owned(),
        was: proof.focus,
        is: ask.focus.to_owned(),
        fleet_was: proof.plan.fleet,
        fleet_is: ask.fleet.to_owned(),
    })
}

/// Names are times: the last in order is the newest. One that cannot be read, or
/// that measured nothing, is no run to compare with.
fn newest(ask: &Ask<'_>) -> Result<(String, Proof), EarlierError> {
    let entries = std::fs::read_dir(&ask.dir).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| !path.is_symlink() && path.join("proof.json").exists())
        .collect();
    dirs.sort();
    let fitting = dirs.iter().rev().find_map(|dir| {
        let proof = read(&dir.join("proof.json")).ok()?;
        let is_empty = proof.last_yield().is_empty();
        (fits(ask, &proof) && !is_empty).then(|| (name_of(dir), proof))
    });
    fitting.ok_or_else(|| EarlierError::None {
        project: ask.project.to_owned(),
        focus: ask.focus.to_owned(),
        fleet: ask.fleet.to_owned(),
        dir: ask.dir.clone(),
    })
}

fn fits(ask: &Ask<'_>, proof: &Proof) -> bool {
    proof.project == ask.project && proof.focus == ask.focus && proof.plan.fleet == ask.fleet
}

fn read(path: &Path) -> Result<Proof, EarlierError> {
    let unreadable = |detail: String| EarlierError::Unreadable {
        path: path.to_owned(),
        detail,
    };
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))
}

fn name_of(dir: &Path) -> String {
    let canonical = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    canonical
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
