//! `vps-test resume` and `vps-test fixed`: go on with a run that was stopped, killed
//! or parked.

use std::process::ExitCode;

use clap::Args;
use engine::How;
use miette::{IntoDiagnostic, WrapErr};

use crate::exit::Infrastructure;
use crate::running::{claim, exit_code, listen, of_run, show, sinks};
use crate::runs;
use crate::started::Started;

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The project whose newest run is meant
    project: String,
    /// Print the journal's entries as lines of JSON instead of a screen
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ResumeArgs, how: How) -> miette::Result<ExitCode> {
    let state_dir = runs::state_dir()?;
    let dir = runs::find(&state_dir, &args.project)?;
    let mut claim = claim(&state_dir, &args.project)?;
    // Before anything is booted for it.
    engine::check_resumable(how, &runs::replay(&dir)?, &dir).map_err(of_run)?;
    claim
        .runs_in(dir.path())
        .map_err(|e| Infrastructure::from_error(&e))?;
    let runtime = tokio::runtime::Runtime::new()
        .into_diagnostic()
        .wrap_err("cannot start threads")?;
    let stopped = listen(&runtime);
    let started = Started::read(&dir)?;
    let ground = started.ground.ground()?;
    let inventory = ground.inventory().clone();
    let standing = ground.stand(started.ground.keeps(), |line| {
        if !args.json {
            println!("  {line}");
        }
    })?;
    let settings = started.settings(&inventory, &standing, &dir)?;
    let key = started.sign.clone().map(engine::choose_key).transpose();
    let key = key.into_diagnostic()?;
    let sinks = sinks(args.json, &settings.config, &dir);
    let ended = runtime
        .block_on(engine::resume(how, &settings, &dir, sinks, stopped))
        .map_err(of_run)?;
    if let Some(key) = key {
        engine::sign(&dir, &key).map_err(|e| Infrastructure::from_error(&e))?;
    }
    show(&ended, &dir, args.json);
    drop(standing);
    drop(claim);
    Ok(exit_code(&ended))
}
