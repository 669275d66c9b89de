//! `vps-test start`: interview, plan, run, result.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use engine::{RunDir, StackPatch, Wish};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::baseline::Baseline;
use model::config::{Config, CriteriaMode, parse_duration};
use model::event::Plan;
use model::suite::Suite;
use serde::{Deserialize, Serialize};

use crate::detach::{self, Detached};
use crate::exit::{self, Infrastructure};
use crate::ground::Ground;
use crate::interview::{self, Answers, Decision, Words};
use crate::project::Project;
use crate::running::{claim, exit_code, listen, of_run, refuse_second, show, sinks};
use crate::screen;
use crate::started::{GroundRecord, Started};

#[derive(Debug, Args)]
pub struct StartArgs {
    #[command(flatten)]
    words: Words,
    /// Go on without asking
    #[arg(long)]
    yes: bool,
    /// Waits between the passes: `0` for none, `5s,5s`, `1h,6h`; by default the config's
    #[arg(long, value_name = "DURATIONS", value_parser = parse_soak)]
    soak: Option<Soak>,
    /// Run on the hosts of this inventory, over the internet, instead of the twin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["twin", "keep"])]
    fleet: Option<PathBuf>,
    /// The twin to run on; booted where none of this name is up
    #[arg(long, value_name = "NAME", default_value = "twin")]
    twin: String,
    /// Leave a twin up that was booted for this run
    #[arg(long)]
    keep: bool,
    /// Build the tester against your own tree: NAME=PATH, NAME=GIT#REV or NAME=VERSION
    #[arg(long, value_name = "NAME=SOURCE")]
    stack: Option<String>,
    /// Sign the run when it has ended, with this SSH key or the usual one
    #[arg(long, value_name = "KEY", num_args = 0..=1)]
    sign: Option<Option<PathBuf>>,
    /// Have the twin's hosts count packets too; attempts where their count differs
    /// from the emulated internet's are infrastructure failures
    #[arg(long, conflicts_with = "fleet")]
    cross_check: bool,
    /// Which attempts leave their packets as pcapng in the run directory; needs
    /// tcpdump on the hosts
    #[arg(long, value_enum, default_value = "none", value_name = "WHICH")]
    capture: CaptureWhich,
    /// Print the journal's entries as lines of JSON instead of a screen
    #[arg(long, requires = "yes")]
    json: bool,
    /// Go on in the background, once the plan is confirmed
    #[arg(long)]
    detach: bool,
    /// What was answered in the foreground
    #[arg(long, hide = true, value_delimiter = ',', num_args = 1)]
    answers: Vec<String>,
    /// The run directory that was made in the foreground
    #[arg(long, hide = true, value_name = "DIR")]
    into: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureWhich {
    None,
    Failures,
    All,
}

#[derive(Debug, Clone)]
struct Soak(Vec<Duration>);

fn parse_soak(text: &str) -> Result<Soak, String> {
    let waits: Option<Vec<Duration>> = text.split(',').map(parse_duration).collect();
    let waits = waits.ok_or("durations are such as 0, 5s, 10m or 1h, joined by commas")?;
    if waits.len() > 2 {
        return Err("there are two waits at most, the request's hour and six hours".into());
    }
    Ok(Soak(
        waits.into_iter().filter(|wait| !wait.is_zero()).collect(),
    ))
}

pub fn run(args: StartArgs) -> miette::Result<ExitCode> {
    if args.into.is_some() {
        detach::leave_terminal();
    }
    let project = Project::find()?;
    let key = args.sign.clone().map(engine::choose_key).transpose();
    let key = key.into_diagnostic()?;
    let state_dir = project.state_dir();
    let words = words(&args);
    refuse_second(&state_dir, words.project.as_deref())?;
    let mut answers = Answers::gather(&words, args.yes, project.settings())?;
    let (plan, stack, ground) = loop {
        refuse_second(&state_dir, Some(&answers.project.value))?;
        let stack = stack(&args, project.settings(), &answers.project.value)?;
        let ground = Ground::choose(args.fleet.as_deref(), &args.twin, &project)?;
        project.config.check_against(ground.inventory())?;
        let plan = plan(&args, &project, &answers, &ground, stack.as_ref())?;
        if !args.json {
            let paint = screen::Paint::detect();
            let plan = screen::plan::render(&plan, &answers, project.settings(), paint);
            // A detached run keeps what it prints.
            print!("{}", engine::redact::text(&plan));
        }
        match decide(&args)? {
            Decision::Proceed => break (plan, stack, ground),
            Decision::Modify => answers = answers.again(project.settings())?,
            Decision::Cancel => {
                println!("nothing was started");
                return Ok(ExitCode::from(exit::USAGE));
            }
        }
    };
    if args.detach {
        let dir = run_dir(&args, &state_dir, &plan.project)?;
        return Detached {
            project: &plan.project,
            answers: answers.words(),
            dir: &dir,
        }
        .start();
    }
    let mut claim = claim(&state_dir, &plan.project)?;
    let runtime = tokio::runtime::Runtime::new()
        .into_diagnostic()
        .wrap_err("cannot start threads")?;
    let stopped = listen(&runtime);
    let inventory = ground.inventory().clone();
    let started = started(&args, &project, &plan, &ground, stack.as_ref())?;
    let standing = ground.stand(args.keep, |line| {
        if !args.json {
            println!("  {line}");
        }
    })?;
    let dir = run_dir(&args, &state_dir, &plan.project)?;
    claim
        .runs_in(dir.path())
        .map_err(|e| Infrastructure::from_error(&e))?;
    started.write(&dir)?;
    let settings = started.settings(&inventory, &standing, &dir)?;
    let ended = runtime
        .block_on(engine::run(
            &settings,
            plan,
            &dir,
            sinks(args.json, &settings.config, &dir),
            stopped,
        ))
        .map_err(of_run)?;
    if let Some(key) = key {
        engine::sign(&dir, &key).map_err(|e| Infrastructure::from_error(&e))?;
    }
    show(&ended, &dir, args.json);
    drop(standing);
    drop(claim);
    Ok(exit_code(&ended))
}

/// What it takes to go on with this run later.
fn started(
    args: &StartArgs,
    project: &Project,
    plan: &Plan,
    ground: &Ground,
    stack: Option<&StackPatch>,
) -> miette::Result<Started> {
    Ok(Started {
        project: plan.project.clone(),
        workspace: project.workspace()?,
        stack: stack.map(StackPatch::absolute),
        ground: GroundRecord::of(ground, args.keep)?,
        cross_check: args.cross_check,
        capture: args.capture,
        sign: args.sign.clone(),
        judged_by: [Some(project.file.clone()), ground.file()]
            .into_iter()
            .flatten()
            .collect(),
        config: project.settings().clone(),
    })
}

/// As given, or as answered before this went into the background.
fn words(args: &StartArgs) -> Words {
    match args.answers.as_slice() {
        [project, focus, criteria, proof] => Words {
            project: Some(project.clone()),
            focus: Some(focus.clone()),
            criteria: Some(criteria.clone()),
            proof: Some(proof.clone()),
            ..args.words.clone()
        },
        _ => args.words.clone(),
    }
}

fn decide(args: &StartArgs) -> miette::Result<Decision> {
    if args.yes {
        Ok(Decision::Proceed)
    } else {
        interview::decide()
    }
}

fn run_dir(args: &StartArgs, state_dir: &Path, project: &str) -> miette::Result<RunDir> {
    match &args.into {
        Some(dir) => Ok(RunDir::open(dir)),
        None => RunDir::create(state_dir, project, Timestamp::now())
            .map_err(|e| Infrastructure::from_error(&e)),
    }
}

fn stack(args: &StartArgs, config: &Config, project: &str) -> miette::Result<Option<StackPatch>> {
    let Some(given) = &args.stack else {
        return Ok(None);
    };
    let patch = StackPatch::parse(given).into_diagnostic()?;
    let stack = config
        .module_of(project)
        .and_then(|(_, module)| module.stack.clone());
    patch.check_stack(stack.as_deref()).into_diagnostic()?;
    Ok(Some(patch))
}

fn plan(
    args: &StartArgs,
    project: &Project,
    answers: &Answers,
    ground: &Ground,
    stack: Option<&StackPatch>,
) -> miette::Result<Plan> {
    let config = project.settings();
    let (module_name, module) = config
        .module_of(&answers.project.value)
        .ok_or_else(|| miette::miette!("no module tests `{}`", answers.project.value))?;
    let suites = config.focus(module, &answers.focus.value)?;
    let wish = Wish {
        project: answers.project.value.clone(),
        focus: answers.focus.value.clone(),
        suites: suites.clone(),
        criteria: answers.criteria.value,
        expression: interview::expression(&words(args), answers.criteria.value, config)?,
        baseline: baseline(args, project, answers, ground, &suites)?,
        proof: answers.proof.value,
        soak: args.soak.as_ref().map(|soak| soak.0.clone()),
        runs_on: ground.describe(),
        stack: stack
            .map(StackPatch::source)
            .transpose()
            .into_diagnostic()?,
    };
    Ok(engine::plan(
        config,
        module_name,
        ground.inventory(),
        &wish,
    )?)
}

/// What the earlier run had, where this one is to improve on it.
fn baseline(
    args: &StartArgs,
    project: &Project,
    answers: &Answers,
    ground: &Ground,
    suites: &[Suite],
) -> miette::Result<Option<Baseline>> {
    if answers.criteria.value != CriteriaMode::Improvement {
        return Ok(None);
    }
    let improvement = project.settings().criteria.improvement;
    let ask = engine::Ask {
        dir: project.state_dir().join(&answers.project.value),
        project: &answers.project.value,
        focus: &answers.focus.value,
        fleet: &ground.inventory().name,
        suites,
        against: args.words.against.as_deref(),
        margin: improvement.margin,
        tolerance: improvement.tolerance,
    };
    Ok(Some(engine::baseline(&ask)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soak_is_off_or_up_to_two_waits() {
        assert!(parse_soak("0").unwrap().0.is_empty());
        let five = Duration::from_secs(5);
        assert_eq!(parse_soak("5s,5s").unwrap().0, [five, five]);
        assert!(parse_soak("1s,2s,3s").is_err());
        assert!(parse_soak("soon").is_err());
    }
}
