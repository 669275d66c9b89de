//! The last resort: a native build on the one node that `build.fallback` names.
//! It gets the working tree as it is here, and gives back what it made.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fleet::{Host, quote};
use tokio::process::Command;

use super::{Failed, Made, made};
use crate::recorder::Progress;
use crate::settings::Settings;
use crate::steps::Stage;
use crate::steps::cargo::BuildError;
use crate::steps::compiler::Said;
use crate::steps::part::Part;
use crate::steps::toolchain::without_target;

/// On the node; `clean` removes it.
const DIRECTORY: &str = "/var/lib/vps-test/build";

const LIMIT: Duration = Duration::from_secs(3600);

pub async fn make(stage: &Stage<'_>, parts: &[Part], here: Failed) -> Result<Made, Failed> {
    let settings = stage.settings;
    let command = remote_command(settings, parts, &[]);
    let failed = |error| Failed {
        error,
        command: command.clone(),
    };
    let infrastructure = |detail: String| failed(BuildError::Infrastructure(detail));
    let BuildError::Infrastructure(why) = here.error else {
        return Err(here);
    };
    let host = host(stage).map_err(|detail| infrastructure(format!("{why}; {detail}")))?;
    stage.recorder.progress(&Progress::BuildLine(format!(
        "the build here failed; building on {}",
        host.name()
    )));
    let source = source(settings).await.map_err(&infrastructure)?;
    let script = format!(
        "set -e; mkdir -p {DIRECTORY}; cd {DIRECTORY}; rm -rf source; mkdir source; tar -xf - -C source; cd source
[ ! -e ~/.cargo/env ] || . ~/.cargo/env
command -v cargo >/dev/null || {{ echo 'there is no cargo: install Rust there (https://rustup.rs)' >&2; exit 1; }}
export CARGO_TARGET_DIR={DIRECTORY}/target; {}",
        remote_command(settings, parts, &["--message-format=json"])
    );
    let output = host
        .script(&script, Some(&source), LIMIT)
        .await
        .map_err(|e| infrastructure(e.to_string()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = Said::read(stdout.lines());
    if !output.status.success() {
        return Err(failed(refused(
            &host.name().to_string(),
            &why,
            &output.stderr,
            said,
        )));
    }
    let executables = fetch(host, settings, &said)
        .await
        .map_err(&infrastructure)?;
    let command = format!("{command}, on {}", host.name());
    Ok(Made {
        executables,
        ..made(said, command)
    })
}

fn refused(node: &str, why: &str, stderr: &[u8], said: Said) -> BuildError {
    if !said.errors.is_empty() {
        return BuildError::DoesNotBuild {
            detail: format!("on {node}:\n{}", said.rendered()),
            errors: said.errors,
        };
    }
    let stderr = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = stderr.lines().collect();
    let last = lines.len().saturating_sub(20);
    BuildError::Infrastructure(format!(
        "{why}; and the build on {node} failed too:\n{}",
        lines[last..].join("\n")
    ))
}

/// Checked when the config was read: it is no test node.
fn host<'a>(stage: &'a Stage<'_>) -> Result<&'a Host, String> {
    let name = stage.settings.config.build.fallback.as_deref();
    let name = name.unwrap_or_default();
    let node = model::config::node_by_any_name(&stage.settings.fleet, name)
        .ok_or_else(|| format!("build.fallback `{name}` is not in the inventory"))?;
    if node.is_tested() {
        return Err(format!(
            "build.fallback {} is a test node, and nothing is ever built on one",
            node.name
        ));
    }
    let host = stage.live.hosts.get(&node.name);
    host.map(AsRef::as_ref)
        .ok_or_else(|| format!("build.fallback {} cannot be reached", node.name))
}

/// `cargo build`, natively: whatever the configured command says but the target.
fn remote_command(settings: &Settings, parts: &[Part], besides: &[&str]) -> String {
    let words = shell_words::split(&settings.config.build.command).unwrap_or_default();
    let arguments = match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["cargo", "zig", "build", rest @ ..] | ["cargo", "zigbuild" | "build", rest @ ..] => {
            rest.iter().map(|word| (*word).to_owned()).collect()
        }
        _ => Vec::new(),
    };
    let mut common = vec!["cargo".to_owned(), "build".to_owned()];
    common.extend(without_target(arguments));
    let target = Path::new(DIRECTORY).join("target");
    let commands = parts.iter().map(|part| {
        let words = common.iter().cloned().chain(part.arguments(&target));
        let words = words.chain(besides.iter().map(|word| (*word).to_owned()));
        words.map(|word| quote(&word)).collect::<Vec<_>>().join(" ")
    });
    commands.collect::<Vec<_>>().join(" && ")
}

/// A tar of what git knows or would add, uncommitted changes included.
async fn source(settings: &Settings) -> Result<Vec<u8>, String> {
    if settings.stack.is_some() {
        return Err("build.fallback does not work with --stack: commit the stack's version into the workspace, or build here".into());
    }
    let script = "set -o pipefail; git -c safe.directory='*' ls-files -z -co --exclude-standard --deduplicate . |
        while IFS= read -r -d '' file; do [ ! -e \"$file\" ] || printf '%s\\0' \"$file\"; done |
        tar --null --no-recursion -T - -cf -";
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(&settings.workspace)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|e| format!("cannot pack the workspace: {e}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!(
        "cannot pack the workspace `{}`, which has to be a git repository: {}",
        settings.workspace.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

async fn fetch(
    host: &Host,
    settings: &Settings,
    said: &Said,
) -> Result<HashMap<String, PathBuf>, String> {
    let dir = settings.workspace.join("target").join("vps-test-fallback");
    std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make `{}`: {e}", dir.display()))?;
    let mut fetched = HashMap::new();
    for (name, there) in &said.executables {
        let script = format!("cat {}", quote(&there.display().to_string()));
        let output = host
            .script(&script, None, Duration::from_secs(600))
            .await
            .map_err(|e| e.to_string())?;
        let path = dir.join(name);
        write_executable(&path, &output.stdout)
            .map_err(|e| format!("cannot write `{}`: {e}", path.display()))?;
        fetched.insert(name.clone(), path);
    }
    Ok(fetched)
}

fn write_executable(path: &Path, content: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, content)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}
