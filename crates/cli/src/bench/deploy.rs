//! A 20 MB binary to nine nodes: ours, and the loop of scp and ssh that it replaces.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use fleet::{Artifact, Service, Unit};
use futures::future::try_join_all;
use miette::{IntoDiagnostic, WrapErr};

use super::ground::{Ground, saorsa};
use super::{figure, median};
use crate::exit::Infrastructure;

const REPEATS: usize = 3;
const SIZE: usize = 20_000_000;
const NODES: usize = 9;
const INSTALL_PATH: &str = "/opt/vps-test-bench";

pub fn run() -> miette::Result<()> {
    let ground = Ground::boot(&saorsa()?)?;
    let runtime = tokio::runtime::Runtime::new().into_diagnostic()?;
    let (mut factors, mut again) = (Vec::new(), Vec::new());
    for round in 0..REPEATS {
        let dir = tempfile::tempdir().into_diagnostic()?;
        let file = dir.path().join("bench-service");
        write_binary(&file, round)?;
        let artifact = Artifact::read(&file).map_err(|e| Infrastructure::from_error(&e))?;
        let (ours, unchanged) = runtime.block_on(async {
            let ours = deploy(&ground, &artifact).await?;
            Ok::<_, miette::Report>((ours, deploy(&ground, &artifact).await?))
        })?;
        let theirs = scp_then_ssh(&ground, &file)?;
        eprintln!("deploy: {ours:.2} s, unchanged {unchanged:.2} s, scp then ssh {theirs:.2} s");
        factors.push(theirs / ours);
        again.push(unchanged);
    }
    figure("deploy, times faster than scp then ssh", median(factors));
    figure("redeploy without a change", median(again));
    Ok(())
}

/// A program that stays, with the code of this one behind it: what is deployed is
/// code, and code can be packed.
fn write_binary(file: &Path, round: usize) -> miette::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let own = std::env::current_exe().into_diagnostic()?;
    let mut content = std::fs::read("/usr/bin/sleep").into_diagnostic()?;
    content.extend_from_slice(&round.to_le_bytes());
    content.extend(std::fs::read(own).into_diagnostic()?);
    content.truncate(SIZE);
    if content.len() < SIZE {
        miette::bail!("this program is too small to fill {SIZE} bytes");
    }
    std::fs::write(file, content).into_diagnostic()?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).into_diagnostic()
}

/// From no session at all to a running service whose digest was read back.
async fn deploy(ground: &Ground, artifact: &Artifact) -> miette::Result<f64> {
    let began = Instant::now();
    let hosts = ground.connect(NODES).await?;
    let service = Service {
        artifact: artifact.clone(),
        unit: Unit {
            name: "vps-test-bench.service".into(),
            description: "bench of vps-test".into(),
            exec: vec!["infinity".into()],
            requires: Vec::new(),
            netns: None,
            instances: None,
        },
        pinned: false,
    };
    let services = [service];
    let installs = hosts
        .iter()
        .map(|host| host.install(&services, INSTALL_PATH, |_, _| {}));
    try_join_all(installs)
        .await
        .map_err(|e| Infrastructure::from_error(&e))?;
    Ok(began.elapsed().as_secs_f64())
}

/// The request's own way, node by node: the service must be stopped first, as the
/// file of a running program cannot be overwritten; then scp, then start and look.
fn scp_then_ssh(ground: &Ground, file: &Path) -> miette::Result<f64> {
    let config = ground.ssh_config();
    let unit = "vps-test-bench.service";
    let ssh = |node: &str, script: String| {
        finish(
            Command::new("ssh")
                .arg("-q")
                .arg("-F")
                .arg(&config)
                .arg(node)
                .arg(script),
        )
    };
    let began = Instant::now();
    for node in ground.twin.fleet().nodes.iter().take(NODES) {
        let name = node.name.as_str();
        ssh(name, format!("systemctl stop {unit}"))?;
        let target = format!("{name}:{INSTALL_PATH}/by-scp");
        finish(
            Command::new("scp")
                .arg("-q")
                .arg("-F")
                .arg(&config)
                .arg(file)
                .arg(target),
        )?;
        ssh(
            name,
            format!("systemctl restart {unit} && systemctl is-active -q {unit}"),
        )?;
    }
    Ok(began.elapsed().as_secs_f64())
}

fn finish(command: &mut Command) -> miette::Result<()> {
    let status = command
        .status()
        .into_diagnostic()
        .wrap_err("cannot run ssh")?;
    if status.success() {
        Ok(())
    } else {
        miette::bail!("{command:?} ended with {status}")
    }
}
