//! `vps-test repro`: the smallest twin that shows a failed attempt again.

mod again;
mod scene;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use engine::RunDir;
use miette::{IntoDiagnostic, WrapErr};
use model::attempt::{Attempt, Counted};
use model::judge;
use model::run::Run;

use crate::exit::{self, Infrastructure};
use crate::runs;
use crate::started::Started;
use again::Again;
use scene::Scene;

#[derive(Debug, Args)]
pub struct ReproArgs {
    /// PROJECT for its newest run, PROJECT/TIME, or a run directory
    #[arg(value_name = "RUN")]
    run: String,
    /// The attempt, by its name in the proof, or by a part of it that no other has
    #[arg(value_name = "ATTEMPT")]
    attempt: String,
    /// Run it too, and say whether it showed again
    #[arg(long = "run")]
    run_it: bool,
    /// Where config, inventory and binaries are written; by default `repro-ATTEMPT` here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// 1 where it showed again, 0 where it did not, 4 where nothing was learnt.
pub fn run(args: &ReproArgs) -> miette::Result<ExitCode> {
    let dir = runs::find(&runs::state_dir()?, &args.run)?;
    let run = runs::replay(&dir)?;
    let attempt = find(&run, &args.attempt)?;
    let started = started(&dir)?;
    let scene = Scene::of(&run, &started, attempt)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => PathBuf::from(format!("repro-{}", attempt.start.id.0)),
    };
    scene.write(&dir, &out)?;
    print!("{}", told(attempt, &scene, &out));
    if !args.run_it {
        return Ok(exit::PASS);
    }
    let status = start(&scene, &out)?;
    let state = out.join(scene::STATE);
    let again = RunDir::latest(&state, &scene.project)
        .map(|dir| runs::replay(&dir))
        .transpose()?
        .map(|run| Again::of(attempt, &run))
        .unwrap_or_default();
    println!("\n{}", again.told(attempt));
    Ok(match again.code() {
        Some(code) => code,
        // It never came to the pair: why not is what that run ended with.
        None => u8::try_from(status).map_or(ExitCode::from(exit::INFRASTRUCTURE), |code| {
            ExitCode::from(code.max(exit::USAGE))
        }),
    })
}

/// By its whole name, or by a part that is its alone; one that has not succeeded.
fn find<'a>(run: &'a Run, word: &str) -> miette::Result<&'a Attempt> {
    let failed = || run.attempts.iter().filter(|a| is_failed(a));
    let exact = run.attempts.iter().find(|a| a.start.id.0 == word);
    let found: Vec<&Attempt> = match exact {
        Some(attempt) => vec![attempt],
        None => {
            let part = run.attempts.iter().filter(|a| a.start.id.0.contains(word));
            part.collect()
        }
    };
    let names = |attempts: &mut dyn Iterator<Item = &Attempt>| {
        let names: Vec<&str> = attempts.take(5).map(|a| a.start.id.0.as_str()).collect();
        names.join(", ")
    };
    let help = match failed().count() {
        0 => "every attempt of this run succeeded".to_owned(),
        count => format!("{count} failed: {}, …", names(&mut failed())),
    };
    match found.as_slice() {
        [] => Err(miette::miette!(
            help = help,
            "the run has no attempt `{word}`"
        )),
        [attempt] if is_failed(attempt) => Ok(attempt),
        [attempt] => Err(miette::miette!(
            help = help,
            "{} succeeded: there is nothing to show again",
            attempt.start.id.0
        )),
        some => Err(miette::miette!(
            help = format!(
                "give more of its name: {}, …",
                names(&mut some.iter().copied())
            ),
            "`{word}` is a part of {} attempts' names",
            some.len()
        )),
    }
}

fn is_failed(attempt: &Attempt) -> bool {
    attempt.verdict() != Counted::Success
}

fn started(dir: &RunDir) -> miette::Result<Started> {
    Started::read(dir).wrap_err(
        "only a project's newest run keeps what it was started with, its binaries included; \
         an older one's attempts cannot be shown again",
    )
}

fn told(attempt: &Attempt, scene: &Scene, out: &Path) -> String {
    let start = &attempt.start;
    let mut text = format!(
        "{}: {}, {}\n  {}\n\n",
        start.id.0,
        start.cell.pair,
        start.cell.category,
        judge::why(attempt).unwrap_or_default()
    );
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
