//! Where binaries come from: a build here, a release, a directory, or, where a
//! build here cannot cross-compile, a native build on the node that allows it.

mod remote;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use model::config::ReleaseConfig;
use tokio::process::Command;

use super::cargo::{BuildError, Cargo};
use super::part::Part;
use super::{Stage, compiler};
use crate::recorder::Progress;
use crate::settings::Settings;

/// What was made, and how.
#[derive(Debug, Default)]
pub struct Made {
    /// By name, as far as whoever made them says where they are.
    pub executables: HashMap<String, PathBuf>,
    pub command: String,
    pub warnings: u32,
    /// Where they are until they have been read, if that is nobody else's place.
    pub _kept: Option<tempfile::TempDir>,
}

pub struct Failed {
    pub error: BuildError,
    pub command: String,
}

pub async fn make(stage: &Stage<'_>, parts: &[Part]) -> Result<Made, Failed> {
    let settings = stage.settings;
    let build = &settings.config.build;
    if let Some(dir) = &build.path {
        return from_directory(settings, dir);
    }
    if let Some(release) = &build.release {
        return from_release(stage, release).await;
    }
    if build.leaves_out(&settings.module) {
        return as_it_is(settings);
    }
    match local(stage, parts).await {
        Err(failed) if failed.error.is_infrastructure() && build.fallback.is_some() => {
            remote::make(stage, parts, failed).await
        }
        outcome => outcome,
    }
}

async fn local(stage: &Stage<'_>, parts: &[Part]) -> Result<Made, Failed> {
    let configured = &stage.settings.config.build.command;
    let failed = |error, command: &str| Failed {
        error,
        command: command.to_owned(),
    };
    let cargo = Cargo::new(stage.settings, stage.recorder).map_err(|e| failed(e, configured))?;
    let command = cargo.shown(parts);
    let said = cargo
        .build(parts)
        .await
        .map_err(|error| failed(error, &command))?;
    Ok(made(said, command))
}

fn made(said: compiler::Said, command: String) -> Made {
    Made {
        executables: said.executables,
        command,
        warnings: said.warnings,
        _kept: None,
    }
}

/// Nothing to build: cargo knows nothing of the tester.
fn as_it_is(settings: &Settings) -> Result<Made, Failed> {
    let command = format!("{}, as it is", settings.module.binary);
    if settings.stack.is_none() {
        return Ok(Made {
            command,
            ..Made::default()
        });
    }
    Err(Failed {
        error: BuildError::Infrastructure(format!(
            "--stack works through cargo, and the module {} has no `crate`; choose the stack's \
             version in {} itself",
            settings.module_name, settings.module.binary
        )),
        command,
    })
}

/// Built by somebody else.
fn from_directory(settings: &Settings, dir: &str) -> Result<Made, Failed> {
    let dir = settings.workspace.join(dir);
    let command = format!("build.path {}", dir.display());
    let wanted = wanted(settings);
    let executables = pick(&dir, &wanted);
    match missing(&wanted, &executables, settings) {
        None => Ok(Made {
            executables,
            command,
            warnings: 0,
            _kept: None,
        }),
        Some(name) => Err(Failed {
            error: BuildError::Infrastructure(format!(
                "there is no `{name}` in `{}`, which is build.path",
                dir.display()
            )),
            command,
        }),
    }
}

/// Assets of a release, as GitHub's own program fetches them.
async fn from_release(stage: &Stage<'_>, release: &ReleaseConfig) -> Result<Made, Failed> {
    let settings = stage.settings;
    let argv = release_command(release);
    let command = shell_words::join(&argv);
    let failed = |detail: String| Failed {
        error: BuildError::Infrastructure(detail),
        command: command.clone(),
    };
    let dir = tempfile::Builder::new()
        .prefix("vps-test-release-")
        .tempdir()
        .map_err(|e| failed(format!("cannot make a directory for the release: {e}")))?;
    stage
        .recorder
        .progress(&Progress::BuildLine(command.clone()));
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .arg("--dir")
        .arg(dir.path())
        .current_dir(&settings.workspace)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|e| {
            failed(format!(
                "cannot run `{command}`: {e}; install GitHub's `gh` (https://cli.github.com)"
            ))
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("`{command}` failed: {}", said.trim())));
    }
    unpack(dir.path()).await.map_err(&failed)?;
    let wanted = wanted(settings);
    let executables = pick(dir.path(), &wanted);
    if let Some(name) = missing(&wanted, &executables, settings) {
        return Err(failed(format!(
            "the release has no `{name}`: `{command}` brought {}",
            names_in(dir.path())
        )));
    }
    Ok(Made {
        executables,
        command,
        warnings: 0,
        _kept: Some(dir),
    })
}

fn release_command(release: &ReleaseConfig) -> Vec<String> {
    let mut argv = vec!["gh".to_owned(), "release".into(), "download".into()];
    argv.extend(release.tag.clone());
    if let Some(repo) = &release.repo {
        argv.extend(["--repo".into(), repo.clone()]);
    }
    argv.extend(["--pattern".into(), release.pattern.clone()]);
    argv
}

/// Archives among the assets, where they are.
async fn unpack(dir: &Path) -> Result<(), String> {
    for file in files_in(dir) {
        let name = file.to_string_lossy().into_owned();
        let is_archive = [".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar"]
            .iter()
            .any(|end| name.ends_with(end));
        if !is_archive {
            continue;
        }
        let output = Command::new("tar")
            .arg("-xf")
            .arg(&file)
            .arg("-C")
            .arg(dir)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|e| format!("cannot run tar: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cannot unpack `{name}`: {}", said.trim()));
        }
    }
    Ok(())
}

/// The three that a run needs.
fn wanted(settings: &Settings) -> [String; 3] {
    [
        settings.module.binary.clone(),
        super::build::REFERENCE.1.into(),
        super::build::REGISTRY.1.into(),
    ]
}

/// The tester must be there; the other two may come from beside this program.
fn missing(
    wanted: &[String],
    found: &HashMap<String, PathBuf>,
    settings: &Settings,
) -> Option<String> {
    let tester = &settings.module.binary;
    wanted
        .iter()
        .find(|name| *name == tester && !found.contains_key(*name))
        .cloned()
}

/// `NAME`, or `NAME-…` as releases call what is for one platform.
fn pick(dir: &Path, wanted: &[String]) -> HashMap<String, PathBuf> {
    let files = files_in(dir);
    let name_of = |file: &Path| file.file_name().map(|n| n.to_string_lossy().into_owned());
    let find = |name: &String| {
        let exact = files
            .iter()
            .find(|file| name_of(file).as_ref() == Some(name));
        let for_platform = files.iter().find(|file| {
            name_of(file).is_some_and(|n| {
                n.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with(['-', '_']) && !rest.contains(".tar"))
            })
        });
        Some((name.clone(), exact.or(for_platform)?.clone()))
    };
    wanted.iter().filter_map(find).collect()
}

/// Two levels deep: archives often hold a directory.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut files = list(dir);
    let below: Vec<PathBuf> = files
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| list(path))
        .collect();
    files.extend(below);
    files.retain(|path| path.is_file());
    // What lies deeper is a copy of what lies above, more often than not.
    files.sort_by_key(|path| (path.components().count(), path.clone()));
    files
}

fn names_in(dir: &Path) -> String {
    let files = files_in(dir);
    let names: Vec<_> = files
        .iter()
        .filter_map(|file| file.file_name())
        .map(|name| name.to_string_lossy())
        .collect();
    if names.is_empty() {
        "nothing".into()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_asked_for_as_one_would_by_hand() {
        let release = |tag: Option<&str>, repo: Option<&str>| ReleaseConfig {
            tag: tag.map(str::to_owned),
            repo: repo.map(str::to_owned),
            pattern: "*linux*".into(),
        };
        assert_eq!(
            release_command(&release(Some("v0.14.199"), Some("o/r"))).join(" "),
            "gh release download v0.14.199 --repo o/r --pattern *linux*"
        );
        assert_eq!(
            release_command(&release(None, None)).join(" "),
            "gh release download --pattern *linux*"
        );
    }

    #[test]
    fn binaries_are_known_by_name_and_by_name_and_platform() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("x-linux")).unwrap();
        for file in [
            "a-test-linux-x86_64",
            "x-linux/b-test",
            "c-test.tar.gz",
            "c-test-linux.tar.gz",
        ] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let wanted = ["a-test", "b-test", "c-test"].map(str::to_owned);
        let found = pick(dir.path(), &wanted);
        assert_eq!(found["a-test"], dir.path().join("a-test-linux-x86_64"));
        assert_eq!(found["b-test"], dir.path().join("x-linux/b-test"));
        assert!(!found.contains_key("c-test"));
    }
}
