//! `vps-test start`: interview, plan, run, result.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use engine::{Ended, RunDir, Settings, Sink, StackPatch, Wish};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::baseline::Baseline;
use model::config::{Config, CriteriaMode, parse_duration};
use model::event::{Plan, StopCause};
use model::inventory::Fleet;
use model::stats::Verdict;
use tokio::sync::watch;

use crate::exit::{self, Infrastructure};
use crate::ground::{Ground, Standing};
use crate::interview::{self, Answers, Words};
use crate::project::Project;
use crate::screen;

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
    let project = Project::find()?;
    let answers = Answers::gather(&args.words, project.settings())?;
    let stack = stack(&args, project.settings(), &answers.project)?;
    let ground = Ground::choose(args.fleet.as_deref(), &args.twin, &project)?;
    project.config.check_against(ground.inventory())?;
    let plan = plan(&args, &project, &answers, &ground, stack.as_ref())?;
    if !args.json {
        print!(
            "{}",
            screen::plan::render(&plan, project.settings(), screen::Paint::detect())
        );
    }
    if !args.yes && !interview::confirm()? {
        println!("nothing was started");
        return Ok(ExitCode::from(exit::USAGE));
    }
    let inventory = ground.inventory().clone();
    let standing = ground.stand(args.keep, |line| {
        if !args.json {
            println!("  {line}");
        }
    })?;
    let dir = RunDir::create(&project.state_dir(), &plan.project, Timestamp::now())
        .map_err(|e| Infrastructure::from_error(&e))?;
    let settings = settings(&project, &answers.project, &inventory, &standing, stack)?;
    let ended = perform(&settings, plan, &dir, sinks(args.json))?;
    show(&ended, &dir, args.json)?;
    drop(standing);
    Ok(exit_code(&ended))
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
        project: answers.project.clone(),
        focus: answers.focus.clone(),
        suites: answers.suites.clone(),
        criteria: answers.criteria,
        expression: answers.expression.clone(),
        baseline: baseline(args, project, answers, ground)?,
        proof: answers.proof,
        soak: args.soak.as_ref().map(|soak| soak.0.clone()),
        runs_on: ground.describe(),
        stack: stack
            .map(StackPatch::source)
            .transpose()
            .into_diagnostic()?,
    };
    let config = project.settings();
    let module = config
        .module_of(&answers.project)
        .map_or("", |(name, _)| name);
    Ok(engine::plan(config, module, ground.inventory(), &wish)?)
}

fn baseline(
    args: &StartArgs,
    project: &Project,
    answers: &Answers,
    ground: &Ground,
) -> miette::Result<Option<Baseline>> {
    if answers.criteria != CriteriaMode::Improvement {
        return Ok(None);
    }
    let improvement = project.settings().criteria.improvement;
    let ask = engine::Ask {
        dir: project.state_dir().join(&answers.project),
        project: &answers.project,
        focus: &answers.focus,
        fleet: &ground.inventory().name,
        suites: &answers.suites,
        against: args.words.against.as_deref(),
        margin: improvement.margin,
        tolerance: improvement.tolerance,
    };
    Ok(Some(engine::baseline(&ask)?))
}

fn settings(
    project: &Project,
    name: &str,
    inventory: &Fleet,
    standing: &Standing,
    stack: Option<StackPatch>,
) -> miette::Result<Settings> {
    let config = project.settings();
    let (module_name, module) = config
        .module_of(name)
        .ok_or_else(|| miette::miette!("no module tests `{name}`"))?;
    Ok(Settings {
        fleet: standing.fleet.clone(),
        reach: standing.reach.clone(),
        project: name.to_owned(),
        module_name: module_name.to_owned(),
        module: module.clone(),
        workspace: project.workspace()?,
        bootstrap: config
            .bootstrap_nodes(inventory)
            .into_iter()
            .map(|(n, port)| (n.name.clone(), port))
            .collect(),
        registry: config
            .registry_node(inventory)
            .map(|(n, port)| (n.name.clone(), port)),
        config: config.clone(),
        stack,
        observer: standing.observer.clone(),
    })
}

fn sinks(json: bool) -> Vec<Box<dyn Sink>> {
    if json {
        vec![Box::new(screen::json::Lines)]
    } else {
        vec![Box::new(screen::live::Live::new())]
    }
}

fn perform(
    settings: &Settings,
    plan: Plan,
    dir: &RunDir,
    sinks: Vec<Box<dyn Sink>>,
) -> miette::Result<Ended> {
    let runtime = tokio::runtime::Runtime::new()
        .into_diagnostic()
        .wrap_err("cannot start threads")?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            asked_to_stop().await;
            let _ = stop.send(true);
            // The sender lives as long as the run: a dropped one is no request.
            std::future::pending::<()>().await;
        });
        engine::run(settings, plan, dir, sinks, stopped)
            .await
            .map_err(|e| Infrastructure::from_error(&e))
    })
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

fn show(ended: &Ended, dir: &RunDir, json: bool) -> miette::Result<()> {
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

fn exit_code(ended: &Ended) -> ExitCode {
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
