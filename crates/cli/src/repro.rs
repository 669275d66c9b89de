//! `vps-test repro`: the smallest twin that shows a failed attempt again.

mod again;
mod failure;
mod scene;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use engine::RunDir;
use miette::{IntoDiagnostic, WrapErr};

use crate::exit::{self, Infrastructure};
use crate::runs;
use crate::started::Started;
use again::Again;
use failure::Failure;
use scene::Scene;

#[derive(Debug, Args)]
pub struct ReproArgs {
    /// PROJECT for its newest run, PROJECT/TIME, or a run directory
    #[arg(value_name = "RUN")]
    run: String,
    /// The attempt, by its name in the proof, or what a suite measured, as SUITE/MEASURE/NODE;
    /// a part of it that no other has is enough
    #[arg(value_name = "ATTEMPT")]
    attempt: String,
    /// Run it too, and say whether it showed again; where it does not, once more with all nodes
    #[arg(long = "run")]
    run_it: bool,
    /// With all nodes that the run tested, and not first with those that the failure names
    #[arg(long)]
    all_nodes: bool,
    /// Where config, inventory and binaries are written; by default `repro-ATTEMPT` here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// 1 where it showed again, 0 where it did not, 4 where nothing was learnt.
pub fn run(args: &ReproArgs) -> miette::Result<ExitCode> {
    let dir = runs::find(&runs::state_dir()?, &args.run)?;
    let run = runs::replay(&dir)?;
    let failure = Failure::find(&run, &args.attempt)?;
    let started = started(&dir)?;
    let scene = Scene::of(&run, &started, &failure, args.all_nodes)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => PathBuf::from(format!("repro-{}", failure.name().replace('/', "-"))),
    };
    scene.write(&dir, &out)?;
    print!("{}", told(&failure, &scene, &out));
    if !args.run_it {
        return Ok(exit::PASS);
    }
    let (mut again, mut status) = show(&scene, &out, &failure)?;
    if !again.has_shown() {
        let whole = Scene::of(&run, &started, &failure, true)?;
        if whole.tested() > scene.tested() {
            println!(
                "It may take all {} nodes that the run tested.",
                whole.tested()
            );
            whole.write(&dir, &out)?;
            (again, status) = show(&whole, &out, &failure)?;
        }
    }
    Ok(match again.code() {
        Some(code) => code,
        // It never came to the pair: why not is what that run ended with.
        None => u8::try_from(status).map_or(ExitCode::from(exit::INFRASTRUCTURE), |code| {
            ExitCode::from(code.max(exit::USAGE))
        }),
    })
}

/// Runs it, says what came of it, and returns that with the run's exit status.
fn show(scene: &Scene, out: &Path, failure: &Failure<'_>) -> miette::Result<(Again, i32)> {
    let status = start(scene, out)?;
    let state = out.join(scene::STATE);
    let again = RunDir::latest(&state, &scene.project)
        .map(|dir| runs::replay(&dir))
        .transpose()?
        .map(|run| Again::of(failure, &run))
        .unwrap_or_default();
    println!("\n{}", again.told(failure));
    Ok((again, status))
}

fn started(dir: &RunDir) -> miette::Result<Started> {
    Started::read(dir).wrap_err(
        "only a project's newest run keeps what it was started with, its binaries included, \
         and only until it has passed: nothing of this one can be shown again",
    )
}

fn told(failure: &Failure<'_>, scene: &Scene, out: &Path) -> String {
    let (name, what, why) = (failure.name(), failure.what(), failure.why());
    let mut text = format!("{name}: {what}\n  {why}\n\n");
    for line in scene.nodes_told() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&format!("  binaries   {}\n", scene.binaries_told()));
    for note in &scene.notes {
        text.push_str(&format!("  note       {note}\n"));
    }
    text.push_str(&format!(
        "\n  cd {}\n  export {}={}\n",
        quoted(out),
        scene::STATE_VARIABLE,
        format_args!("\"$PWD/{}\"", scene::STATE)
    ));
    text.push_str(&format!("  vps-test {}\n", scene.words_told()));
    text.push_str(
        "\nThe twin is booted for the run and goes with it; with `--keep` it stays, for `vps-test lab exec`.\n",
    );
    text
}

fn start(scene: &Scene, out: &Path) -> miette::Result<i32> {
    let program = std::env::current_exe().into_diagnostic()?;
    let state = std::path::absolute(out.join(scene::STATE)).into_diagnostic()?;
    println!();
    let status = Command::new(&program)
        .args(&scene.words)
        .current_dir(out)
        .env(scene::STATE_VARIABLE, state)
        .status()
        .map_err(|e| Infrastructure::from_error(&e))?;
    Ok(status.code().unwrap_or(i32::from(exit::INFRASTRUCTURE)))
}

fn quoted(path: &Path) -> String {
    fleet::quote(&path.display().to_string())
}
