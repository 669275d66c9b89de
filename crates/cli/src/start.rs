//! `vps-test start`: interview, plan, run, result.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use engine::{Claim, ClaimError, Ended, Notifier, RunDir, RunError, Sink, StackPatch, Wish};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::config::{Config, parse_duration};
use model::event::{Plan, StopCause};
use model::stats::Verdict;
use tokio::sync::watch;

use crate::detach::{self, Detached};
use crate::exit::{self, Infrastructure};
use crate::ground::Ground;
use crate::interview::{self, Answers, Decision, Words};
use crate::project::Project;
use crate::runs::Loop;
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
            print!(
                "{}",
                screen::plan::render(&plan, &answers, project.settings(), paint)
            );
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
    let started = Started {
        project: plan.project.clone(),
        workspace: project.workspace()?,
        stack: stack.as_ref().map(StackPatch::absolute),
        ground: GroundRecord::of(&ground, args.keep)?,
        judged_by: [Some(project.file.clone()), ground.file()]
            .into_iter()
            .flatten()
            .collect(),
        config: project.settings().clone(),
    };
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
    let settings = started.settings(&inventory, &standing)?;
    let ended = runtime
        .block_on(engine::run(
            &settings,
            plan,
            &dir,
            sinks(args.json, &settings.config, &dir),
            stopped,
        ))
        .map_err(of_run)?;
    show(&ended, &dir, args.json)?;
    drop(standing);
    drop(claim);
    Ok(exit_code(&ended))
}

/// As given, or as answered before this went into the background.
fn words(args: &StartArgs) -> Words {
    match args.answers.as_slice() {
        [project, focus, criteria, proof] => Words {
            project: Some(project.clone()),
            focus: Some(focus.clone()),
            criteria: Some(criteria.clone()),
            proof: Some(proof.clone()),
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

/// Before anybody is asked anything.
fn refuse_second(state_dir: &Path, project: Option<&str>) -> miette::Result<()> {
    match project.and_then(|name| Some((name, Claim::holder(state_dir, name)?))) {
        Some((name, holder)) => Err(runs_already(state_dir, name, Some(&holder))),
        None => Ok(()),
    }
}

pub fn claim(state_dir: &Path, project: &str) -> miette::Result<Claim> {
    Claim::take(state_dir, project).map_err(|error| match error {
        ClaimError::Held { holder } => runs_already(state_dir, project, holder.as_ref()),
        other @ ClaimError::Io { .. } => Infrastructure::from_error(&other),
    })
}

fn runs_already(
    state_dir: &Path,
    project: &str,
    holder: Option<&engine::Holder>,
) -> miette::Report {
    let state = Loop::of(state_dir, project, Timestamp::now())
        .and_then(|one| one.status?.ok())
        .map_or("starting".to_owned(), |status| status.state.to_string());
    let pid = holder.map_or(String::new(), |holder| {
        format!(" in process {}", holder.pid)
    });
    miette::miette!(
        help = format!(
            "watch it with `vps-test status {project} --watch`, or end it with `vps-test stop {project}`"
        ),
        "{project} runs already{pid}: it is in {state}"
    )
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
    let wish = Wish {
        project: answers.project.value.clone(),
        focus: answers.focus.value,
        criteria: answers.criteria.value,
        proof: answers.proof.value,
        soak: args.soak.as_ref().map(|soak| soak.0.clone()),
        runs_on: ground.describe(),
        stack: stack
            .map(StackPatch::source)
            .transpose()
            .into_diagnostic()?,
    };
    let config = project.settings();
    let module = config
        .module_of(&answers.project.value)
        .map_or("", |(name, _)| name);
    engine::plan(config, module, ground.inventory(), &wish).into_diagnostic()
}

pub fn sinks(json: bool, config: &Config, dir: &RunDir) -> Vec<Box<dyn Sink>> {
    let screen: Box<dyn Sink> = if json {
        Box::new(screen::json::Lines)
    } else {
        Box::new(screen::live::Live::new())
    };
    let notifier = Notifier::new(&config.notify, default_hook(), dir.path().into());
    let notifier = notifier.map(|notifier| Box::new(notifier) as Box<dyn Sink>);
    std::iter::once(screen).chain(notifier).collect()
}

/// The request's own place for it.
fn default_hook() -> Option<PathBuf> {
    let hook = crate::project::home()?.join(".claude/hooks/notify.py");
    hook.is_file().then_some(hook)
}

/// A word that does not fit the run is the user's; everything else is not.
pub fn of_run(error: RunError) -> miette::Report {
    match error {
        RunError::Complete { .. } | RunError::NothingThere { .. } | RunError::NotParked { .. } => {
            miette::miette!("{error}")
        }
        other => Infrastructure::from_error(&other),
    }
}

/// Turns true when somebody asks for an end; from here on a signal kills nothing.
pub fn listen(runtime: &tokio::runtime::Runtime) -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(async move {
        asked_to_stop().await;
        let _ = stop.send(true);
        // The sender lives as long as the run: a dropped one is no request.
        std::future::pending::<()>().await;
    });
    stopped
}

/// Ctrl-C, or a termination.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

pub fn show(ended: &Ended, dir: &RunDir, json: bool) -> miette::Result<()> {
    let document = ended.document.display().to_string();
    if json {
        let line = serde_json::json!({
            "ended": { "verdict": ended.proof.verdict, "summary": ended.proof.summary,
                       "run": dir.path(), "proof": document }
        });
        println!("{line}");
    } else {
        print!(
            "{}",
            screen::summary::render(
                &ended.proof,
                &document,
                ended.stopped,
                screen::Paint::detect()
            )
        );
    }
    Ok(())
}

pub fn exit_code(ended: &Ended) -> ExitCode {
    match (ended.stopped, ended.proof.verdict) {
        (Some(StopCause::Infrastructure), _) => ExitCode::from(exit::INFRASTRUCTURE),
        (_, Verdict::Pass) => exit::PASS,
        (_, Verdict::Fail) => exit::fail(),
        (_, Verdict::Inconclusive) => exit::inconclusive(),
    }
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
