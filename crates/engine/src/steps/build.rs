//! BUILD_LOCAL: the testers and the registry, by the config's own command.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use fleet::Artifact;
use model::event::{Build, Event};
use model::run::Run;

use super::cargo::BuildError;
use super::part::Part;
use super::source::{self, Failed, Made};
use super::{Stage, StepError, companion, notice};
use crate::fix;
use crate::live::Binaries;
use crate::recorder::Recorder;
use crate::run_dir::RunDir;
use crate::settings::Settings;

/// Package and binary of what every run needs besides the stack's tester.
pub const REFERENCE: (&str, &str) = ("udp-test", "udp-test");
pub const REGISTRY: (&str, &str) = ("registry", "vps-test-registry");

pub async fn perform(stage: &mut Stage<'_>) -> Result<(), StepError> {
    let settings = stage.settings;
    match fix::source(settings, stage.dir) {
        Ok(Some(mut source)) => {
            // A work tree of the loop is one of the user's repository.
            let fixed = |run: &Run| run.standing_fix().map(|fix| fix.repository.clone());
            if let Some(repository) = stage.recorder.with(fixed) {
                source.repository = repository;
            }
            stage.recorder.record(Event::SourceTaken(source))?;
        }
        Ok(None) => {}
        Err(error) => stage.recorder.record(Event::Finding {
            detail: format!("which source was built is not known: {error}"),
        })?,
    }
    let began = Instant::now();
    let made = match source::make(stage, &Part::all(settings)).await {
        Ok(made) => made,
        Err(Failed {
            error: BuildError::Infrastructure(detail),
            ..
        }) => return Err(StepError::Infrastructure(detail)),
        Err(Failed {
            error: BuildError::DoesNotBuild { detail, errors },
            command,
        }) => {
            stage.recorder.record(Event::BuildFailed {
                module: settings.module_name.clone(),
                command,
                detail,
                errors,
            })?;
            return Ok(());
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let binary = |name: &str| {
        let artifact = record(stage.recorder, &made, settings, name, seconds)?;
        keep(stage.dir, &artifact)?;
        Ok::<_, StepError>(artifact)
    };
    let [tester, reference, registry] = [
        binary(&settings.module.binary)?,
        binary(REFERENCE.1)?,
        binary(REGISTRY.1)?,
    ];
    let mut companions = Vec::from_iter(notice::make(settings, stage.dir)?);
    for (name, companion) in &settings.module.companions {
        companions.extend(companion::make(stage, name, companion).await?);
    }
    stage.live.binaries = Some(Binaries {
        tester,
        reference,
        registry,
        companions,
    });
    Ok(())
}

/// Has what BUILD_LOCAL made at hand, as it was then; false where it is gone.
pub fn restore(stage: &mut Stage<'_>) -> bool {
    if stage.live.binaries.is_some() {
        return true;
    }
    let kept = |name: &str| {
        let built = |run: &Run| {
            let built = run.builds.iter().rev().find(|b| b.binary == name);
            built.map(|b| b.sha256.clone())
        };
        let sha256 = stage.recorder.with(built)?;
        let artifact = Artifact::read(&kept_at(stage.dir, name, &sha256)).ok()?;
        (artifact.sha256 == sha256).then_some(artifact)
    };
    let names = [
        stage.settings.module.binary.as_str(),
        REFERENCE.1,
        REGISTRY.1,
    ];
    let [Some(tester), Some(reference), Some(registry)] = names.map(kept) else {
        return false;
    };
    let Ok(notice) = notice::make(stage.settings, stage.dir) else {
        return false;
    };
    let mut companions = Vec::from_iter(notice);
    for (name, companion) in &stage.settings.module.companions {
        let (Some(program), Some(kept)) = (kept(name), companion::cached(name, companion)) else {
            return false;
        };
        // What was tested once is what is tested again.
        if kept[0].sha256 != program.sha256 {
            return false;
        }
        companions.extend(kept);
    }
    stage.live.binaries = Some(Binaries {
        tester,
        reference,
        registry,
        companions,
    });
    true
}

fn kept_at(dir: &RunDir, name: &str, sha256: &str) -> PathBuf {
    dir.binaries().join(sha256).join(name)
}

/// The next build overwrites what this one made; a run that is resumed wants it.
pub(super) fn keep(dir: &RunDir, artifact: &Artifact) -> Result<(), StepError> {
    let path = kept_at(dir, &artifact.name, &artifact.sha256);
    if path.exists() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(dir.path());
    std::fs::create_dir_all(parent)
        .and_then(|()| {
            let partial = path.with_extension("partial");
            std::fs::write(&partial, artifact.content.as_slice())?;
            std::fs::rename(&partial, &path)
        })
        .map_err(|e| StepError::Infrastructure(format!("cannot keep `{}`: {e}", path.display())))
}

fn record(
    recorder: &Recorder,
    made: &Made,
    settings: &Settings,
    name: &str,
    seconds: f64,
) -> Result<Artifact, StepError> {
    let path = find(&made.executables, settings, name)?;
    let mut artifact = Artifact::read(&path).map_err(|e| StepError::infrastructure(&e))?;
    fleet::check_program(&artifact.content, &path.display().to_string())
        .map_err(|e| StepError::infrastructure(&e))?;
    // A release calls it after its platform; hosts know it by its own name.
    artifact.name = name.to_owned();
    recorder.record(Event::Built(Build {
        binary: name.to_owned(),
        command: made.command.clone(),
        sha256: artifact.sha256.clone(),
        bytes: artifact.content.len() as u64,
        seconds,
        warnings: made.warnings,
    }))?;
    Ok(artifact)
}

/// Where cargo says it is, else where the config says, else, of what cargo does not
/// build, in the workspace itself, else beside this program.
fn find(
    made: &HashMap<String, PathBuf>,
    settings: &Settings,
    name: &str,
) -> Result<PathBuf, StepError> {
    if let Some(path) = made.get(name) {
        return Ok(path.clone());
    }
    let build = &settings.config.build;
    let configured = settings.workspace.join(&build.target_dir).join(name);
    let is_own = settings.module.crate_dir.is_none() && name == settings.module.binary;
    let own = is_own.then(|| settings.workspace.join(name));
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(name)));
    let found = std::iter::once(configured.clone())
        .chain(own)
        .chain(beside)
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        if is_own && build.leaves_out(&settings.module) {
            return StepError::Infrastructure(format!(
                "there is no `{name}` in `{}`, and nothing was built: the module {} has no `crate` \
                 for cargo; put it there, say in build.path where it is or in build.command how \
                 it is made, or name its crate",
                settings.workspace.display(),
                settings.module_name,
            ));
        }
        StepError::Infrastructure(format!(
            "the build made no `{}`; check build.command and build.target_dir in the config",
            configured.display()
        ))
    })
}
