//! `vps-test diagnose`: what is wrong with a node, and what to do about it.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use engine::RunDir;
use fleet::{FleetError, Host, Reach};
use miette::IntoDiagnostic;
use model::diagnosis::{Dns, Expected, Finding, HostFacts, Kind, Severity, conclude};
use model::event::NatMeasured;
use model::inventory::{Fleet, Node, Transport};

use crate::exit;
use crate::ground::Ground;
use crate::nodes::{Place, block_on, chosen};
use crate::project::Project;
use crate::screen;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  nothing is wrong
  1  a service of vps-test is not as it should be, and the host is
  2  usage
  4  the host itself: it cannot be reached, or disk, memory, ports, NAT box, clock or DNS")]
pub struct DiagnoseArgs {
    /// By name, hostname or address
    node: String,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

/// What was seen and what follows from it.
pub struct Diagnosis<'a> {
    pub node: &'a Node,
    pub place: &'a str,
    pub reached_by: Option<String>,
    pub facts: Option<HostFacts>,
    pub expected: &'a Expected,
    pub findings: Vec<Finding>,
}

pub fn run(args: DiagnoseArgs) -> miette::Result<ExitCode> {
    let project = Project::find()?;
    let ground = args.place.ground(&project)?;
    let place = ground.describe();
    let inventory = ground.inventory().clone();
    let node = chosen(&inventory, Some(&args.node))?[0].clone();
    let is_twin = matches!(ground, Ground::Twin(_));
    let Some((fleet, reach)) = ground.reach_if_up()? else {
        miette::bail!(
            help = "`vps-test lab up` boots it; hosts of your own are named with --fleet FILE",
            "{place} is down, so there is nothing to diagnose"
        );
    };
    let expected = expected(&project, &inventory, &node, &place, is_twin)?;
    let relocated = chosen(&fleet, Some(node.name.as_str()))?[0].clone();
    let diagnosis = diagnose(&reach, &node, &relocated, &place, &expected)?;
    if args.json {
        let json = serde_json::to_string_pretty(&screen::diagnosis::json(&diagnosis));
        println!("{}", json.into_diagnostic()?);
    } else {
        print!(
            "{}",
            screen::diagnosis::render(&diagnosis, screen::Paint::detect())
        );
    }
    Ok(ExitCode::from(code(&diagnosis.findings)))
}

fn code(findings: &[Finding]) -> u8 {
    let mut faults = findings.iter().filter(|f| f.severity == Severity::Fault);
    match (faults.clone().count(), faults.any(|f| f.kind.is_host())) {
        (0, _) => 0,
        (_, true) => exit::INFRASTRUCTURE,
        (_, false) => exit::FAIL,
    }
}

fn diagnose<'a>(
    reach: &Reach,
    node: &'a Node,
    relocated: &Node,
    place: &'a str,
    expected: &'a Expected,
) -> miette::Result<Diagnosis<'a>> {
    let seen = block_on(look(reach, relocated, &expected.install_path))?;
    Ok(match seen {
        Ok((reached_by, facts)) => Diagnosis {
            node,
            place,
            reached_by: Some(reached_by),
            findings: conclude(&facts, expected),
            facts: Some(facts),
            expected,
        },
        Err(error) => Diagnosis {
            node,
            place,
            reached_by: None,
            facts: None,
            expected,
            findings: vec![unreachable(&error)],
        },
    })
}

async fn look(
    reach: &Reach,
    node: &Node,
    install_path: &str,
) -> Result<(String, HostFacts), FleetError> {
    let host = Host::connect(reach, node).await?;
    let facts = host.diagnose(install_path).await?;
    Ok((host.reached_by.clone(), facts))
}

fn unreachable(error: &FleetError) -> Finding {
    let remedy = match error {
        FleetError::Unreachable { by_hand, .. } => format!(
            "try `{by_hand}`; if that hangs, look at the host's power and firewall with its provider"
        ),
        FleetError::HostKeyChanged { by_hand, .. } => {
            format!("if the host was reinstalled: `{by_hand}`")
        }
        _ => "try again; the session broke".into(),
    };
    let what = match error {
        FleetError::Unreachable { detail, .. } => {
            format!("it does not answer, by its name or any address: {detail}")
        }
        other => other.to_string(),
    };
    Finding {
        kind: Kind::Unreachable,
        severity: Severity::Fault,
        what,
        remedy,
    }
}

fn expected(
    project: &Project,
    inventory: &Fleet,
    node: &Node,
    place: &str,
    is_twin: bool,
) -> miette::Result<Expected> {
    let config = project.settings();
    let here = |(found, port): (&Node, u16), transport, what: &str| {
        (found.name == node.name).then(|| (transport, port, what.to_owned()))
    };
    let coordinators = config.modules.keys().flat_map(|module| {
        let placed = config.bootstrap_nodes(inventory, module).into_iter();
        placed.filter_map(|placed| here(placed, Transport::Udp, "coordinator"))
    });
    let registry = config
        .registry_node(inventory)
        .into_iter()
        .filter_map(|placed| here(placed, Transport::Tcp, "registry"));
    Ok(Expected {
        node: node.name.clone(),
        install_path: config.deploy.install_path.trim_end_matches('/').to_owned(),
        ports: coordinators.chain(registry).collect(),
        nat: node.nat.as_ref().map(|nat| nat.spec.behaviour),
        measured: newest_measurement(&project.state_dir(), node, place),
        dns: if is_twin {
            Dns::Mapped
        } else {
            block_on(resolve(&node.hostname))?
        },
        addresses: node.addresses.clone(),
        hostname: node.hostname.clone(),
    })
}

/// Of the newest run on these hosts, whatever its project, that measured this node.
fn newest_measurement(state_dir: &Path, node: &Node, place: &str) -> Option<(NatMeasured, String)> {
    let mut runs: Vec<RunDir> = RunDir::projects(state_dir)
        .iter()
        .flat_map(|project| RunDir::all(state_dir, project))
        .collect();
    runs.sort_by_key(RunDir::name);
    runs.iter().rev().find_map(|dir| {
        let run = dir.replay().ok()?;
        let plan = run.plan.as_ref()?;
        let measured = run.nats.get(&node.name)?.clone();
        (plan.runs_on == place).then(|| (measured, format!("{}/{}", plan.project, dir.name())))
    })
}

async fn resolve(hostname: &str) -> Dns {
    if hostname.parse::<IpAddr>().is_ok() {
        return Dns::Mapped;
    }
    match tokio::net::lookup_host((hostname, 22)).await {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            addresses.sort();
            addresses.dedup();
            Dns::Resolved { addresses }
        }
        Err(error) => Dns::Failed {
            why: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind, severity: Severity) -> Finding {
        Finding {
            kind,
            severity,
            what: String::new(),
            remedy: String::new(),
        }
    }

    #[test]
    fn the_exit_code_names_the_side_that_is_at_fault() {
        let dead = finding(Kind::Service, Severity::Fault);
        assert_eq!(code(&[]), 0);
        assert_eq!(code(&[finding(Kind::Clock, Severity::Warning)]), 0);
        assert_eq!(code(std::slice::from_ref(&dead)), 1);
        assert_eq!(code(&[dead, finding(Kind::Port, Severity::Fault)]), 4);
    }
}
