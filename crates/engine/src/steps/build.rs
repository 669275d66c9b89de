//! BUILD_LOCAL: the testers and the registry, by the config's own command.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fleet::Artifact;
use model::event::{Build, Event};

use super::cargo::{BuildError, Cargo};
use super::{Stage, StepError};
use crate::live::Binaries;
use crate::recorder::Recorder;
use crate::settings::Settings;

/// Package and binary of what every run needs besides the stack's tester.
const REFERENCE: (&str, &str) = ("udp-test", "udp-test");
const REGISTRY: (&str, &str) = ("registry", "vps-test-registry");

pub async fn perform(stage: &mut Stage<'_>) -> Result<(), StepError> {
    let settings = stage.settings;
    let began = Instant::now();
    let cargo = Cargo::new(settings, stage.recorder);
    let made = match cargo.build(&packages(settings)).await {
        Ok(made) => made,
        Err(BuildError::Infrastructure(detail)) => return Err(StepError::Infrastructure(detail)),
        Err(BuildError::DoesNotBuild(detail)) => {
            stage.recorder.record(Event::BuildFailed {
                module: settings.module_name.clone(),
                command: cargo.shown(&packages(settings)),
                detail,
            })?;
            return Ok(());
        }
    };
    let command = cargo.shown(&packages(settings));
    let seconds = began.elapsed().as_secs_f64();
    let binary = |name: &str| record(stage.recorder, &made, settings, name, &command, seconds);
    stage.live.binaries = Some(Binaries {
        tester: binary(&settings.module.binary)?,
        reference: binary(REFERENCE.1)?,
        registry: binary(REGISTRY.1)?,
    });
    Ok(())
}

/// Those that this workspace has. A project with a tester of its own takes the
/// other two from beside this program.
fn packages(settings: &Settings) -> Vec<String> {
    let tester = package_in(&settings.workspace.join(&settings.module.crate_dir));
    let ours = [REFERENCE.0, REGISTRY.0]
        .into_iter()
        .filter(|name| package_in(&settings.workspace.join("crates").join(name)).is_some());
    tester.into_iter().chain(ours.map(str::to_owned)).collect()
}

/// The name in a crate's manifest.
fn package_in(dir: &Path) -> Option<String> {
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).ok()?;
    let value = manifest
        .lines()
        .find_map(|line| line.strip_prefix("name"))?;
    Some(
        value
            .trim_start_matches([' ', '='])
            .trim()
            .trim_matches('"')
            .to_owned(),
    )
}

fn record(
    recorder: &Recorder,
    made: &HashMap<String, PathBuf>,
    settings: &Settings,
    name: &str,
    command: &str,
    seconds: f64,
) -> Result<Artifact, StepError> {
    let path = find(made, settings, name)?;
    let artifact = Artifact::read(&path).map_err(|e| StepError::infrastructure(&e))?;
    recorder.record(Event::Built(Build {
        binary: name.to_owned(),
        command: command.to_owned(),
        sha256: artifact.sha256.clone(),
        bytes: artifact.content.len() as u64,
        seconds,
    }))?;
    Ok(artifact)
}

/// Where cargo says it is, else where the config says, else beside this program.
fn find(
    made: &HashMap<String, PathBuf>,
    settings: &Settings,
    name: &str,
) -> Result<PathBuf, StepError> {
    if let Some(path) = made.get(name) {
        return Ok(path.clone());
    }
    let configured = settings
        .workspace
        .join(&settings.config.build.target_dir)
        .join(name);
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(name)));
    let found = std::iter::once(configured.clone())
        .chain(beside)
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        StepError::Infrastructure(format!(
            "the build made no `{}`; check build.command and build.target_dir in the config",
            configured.display()
        ))
    })
}
