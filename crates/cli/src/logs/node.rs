//! What a node's services said: from its own journal where it can be reached, else
//! as it was collected.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use engine::RunDir;
use fleet::{Host, Reach};
use miette::IntoDiagnostic;
use model::config::node_by_any_name;
use model::event::Plan;
use model::inventory::{Fleet, Node};
use model::run::Run;

use super::LogsArgs;
use crate::exit::Infrastructure;
use crate::ground::Ground;
use crate::nodes::block_on;
use crate::project::Project;
use crate::runs;

const LINES: usize = 2000;

pub fn run(args: &LogsArgs, dir: &RunDir, word: &str) -> miette::Result<ExitCode> {
    let run = runs::replay(dir)?;
    let Some(plan) = &run.plan else {
        miette::bail!("`{}` has no plan yet", dir.path().display());
    };
    let live = hosts(plan)?;
    let name = name_of(plan, live.as_ref(), word)?;
    let units = units(&run, &name);
    let host = match &live {
        Some((fleet, reach)) => node_by_any_name(fleet, &name)
            .map(|node| block_on(Host::connect(reach, node)))
            .transpose()?,
        None => None,
    };
    match host {
        Some(Ok(host)) => from_host(args, &run, &host, &units),
        Some(Err(error)) => {
            eprintln!("{error}");
            eprintln!("as collected by the run:");
            collected(dir, &name)
        }
        None => collected(dir, &name),
    }
}

/// The hosts that the run was on, where they are now.
fn hosts(plan: &Plan) -> miette::Result<Option<(Fleet, Reach)>> {
    let Some(project) = Project::find_if_any()? else {
        return Ok(None);
    };
    let ground = match plan.runs_on.split_once(' ') {
        Some(("fleet", file)) if Path::new(file).is_file() => {
            Ground::choose(Some(Path::new(file)), "", &project)?
        }
        Some(("twin", name)) if crate::twin::is_up(name) => Ground::choose(None, name, &project)?,
        _ => return Ok(None),
    };
    ground.reach_if_up()
}

fn name_of(plan: &Plan, live: Option<&(Fleet, Reach)>, word: &str) -> miette::Result<String> {
    let by_inventory = live
        .and_then(|(fleet, _)| node_by_any_name(fleet, word))
        .map(|node: &Node| node.name.to_string());
    let names = || plan.nodes.iter().map(|node| node.name.as_str());
    match by_inventory.or_else(|| names().find(|name| *name == word).map(str::to_owned)) {
        Some(name) => Ok(name),
        None => Err(model::config::UnknownChoice::new("node", word, names()).into()),
    }
}

fn units(run: &Run, name: &str) -> BTreeSet<String> {
    let deployed = run.deployed.iter().filter(|d| d.node.as_str() == name);
    deployed.map(|d| d.unit.clone()).collect()
}

fn from_host(
    args: &LogsArgs,
    run: &Run,
    host: &Host,
    units: &BTreeSet<String>,
) -> miette::Result<ExitCode> {
    if units.is_empty() {
        println!("the run started no service on {}", host.name());
        return Ok(ExitCode::SUCCESS);
    }
    let skew = run
        .reached
        .get(host.name())
        .map_or(0, |facts| facts.clock_skew_ms);
    let since = args.since.map(|since| since.0).or(run.started_at);
    let seconds = since.map_or(0, |at| (at.as_millisecond() + skew).div_euclid(1000));
    let lines = args.lines.unwrap_or(LINES);
    let units: Vec<&str> = units.iter().map(String::as_str).collect();
    let out = tokio::io::stdout();
    block_on(host.stream_journal(&units, seconds, lines, args.follow, out))?
        .map_err(|error| Infrastructure::from_error(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn collected(dir: &RunDir, name: &str) -> miette::Result<ExitCode> {
    let files = std::fs::read_dir(dir.logs()).into_diagnostic()?;
    let prefix = format!("{name}.");
    let mut files: Vec<_> = files
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().starts_with(&prefix))
        .map(|file| file.path())
        .collect();
    files.sort();
    if files.is_empty() {
        miette::bail!(
            help = "the run is not over yet, or it was started with the proof `metrics`",
            "no logs of {name} in `{}`, and its hosts are not up",
            dir.logs().display()
        );
    }
    for file in files {
        println!("== {}", file.display());
        print!("{}", std::fs::read_to_string(&file).into_diagnostic()?);
    }
    Ok(ExitCode::SUCCESS)
}
