//! Measuring NAT boxes: boxes, prober and reflectors are put where they are
//! missing, so that no run is needed before.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Args;
use engine::nat::{LONGEST_SILENCE, Prober, SHORT_TIMEOUT, inner_address, silences};
use fleet::{Artifact, Host, Reach};
use futures::future::{join_all, try_join_all};
use miette::{IntoDiagnostic, WrapErr, miette};
use model::family::Family;
use model::inventory::{Fleet, Node, NodeName};
use model::nat::{Certificate, NatSpec, Observations, classify};

use super::{Asked, certificate, no_box};
use crate::exit::{self, Infrastructure};
use crate::ground::{Ground, Standing};
use crate::nodes::{block_on, chosen};
use crate::project::Project;
use crate::screen::Paint;

/// STUN's own port.
const STUN_PORT: u16 = 3478;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only this node; all that are behind a NAT otherwise
    node: Option<String>,
    #[command(flatten)]
    place: Asked,
    /// Measure the IPv6 firewalls of these nodes in place of their NAT boxes
    #[arg(long)]
    ipv6: bool,
    /// Measure UDP timeouts too, which takes minutes
    #[arg(long)]
    timeout: bool,
    /// Probe against this server of RFC 5780 in place of the fleet's public nodes
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = parse_server, conflicts_with = "timeout")]
    stun: Option<SocketAddr>,
    /// One JSON document in place of text
    #[arg(long)]
    json: bool,
}

fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map(|ip| SocketAddr::new(ip, STUN_PORT));
    text.parse()
        .or(address)
        .map_err(|_| "write an address and perhaps a port, such as 192.0.2.1:3478".into())
}

/// What is to be measured, and how.
pub struct Plan {
    /// NAT boxes in IPv4, firewalls in IPv6.
    pub family: Family,
    pub timeouts: bool,
    pub stun: Option<SocketAddr>,
}

/// A node's box: what it is to be, and what the probes saw.
pub struct Measured {
    pub node: NodeName,
    pub family: Family,
    pub label: NatSpec,
    /// Where the box was last asked to be something else than the inventory has.
    pub inventory: Option<NatSpec>,
    pub seen: Observations,
    pub certificate: Certificate,
}

impl Measured {
    pub fn mismatch(&self) -> Option<String> {
        match self.family {
            Family::Ipv4 => self.certificate.check(self.label),
            Family::Ipv6 => self.certificate.check_firewall(self.label.udp),
        }
        .err()
    }
}

pub fn run(args: VerifyArgs) -> miette::Result<ExitCode> {
    let project = Project::find()?;
    let place = &args.place.place;
    let ground = Ground::choose(place.fleet.as_deref(), &place.twin, &project)?;
    let plan = Plan {
        family: family(&args)?,
        timeouts: args.timeout,
        stun: args.stun,
    };
    let names = wanted(ground.inventory(), args.node.as_deref(), plan.family)?;
    let (what, besides) = match plan.family {
        Family::Ipv4 => ("NAT boxes", ""),
        Family::Ipv6 => (
            "NAT boxes, IPv6 firewalls",
            " (IPv6 forwarding is turned on there)",
        ),
    };
    let what = format!(
        "put {what} and a prober where they are missing on {}{besides}, and reflectors on public nodes",
        names
            .iter()
            .map(NodeName::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    );
    if !args.place.agreed(&what)? {
        return Ok(ExitCode::from(exit::USAGE));
    }
    let prober = prober(&project)?;
    let Standing {
        fleet,
        reach,
        _twin,
        ..
    } = ground.stand(false, |line| eprintln!("{line}"))?;
    let nodes: Vec<&Node> = names.iter().filter_map(|name| fleet.node(name)).collect();
    let is_bootstrap = bootstrap(&project, &fleet);
    let began = Instant::now();
    let outcomes = block_on(certify(
        &prober,
        &reach,
        &fleet,
        &nodes,
        &is_bootstrap,
        &plan,
    ))??;
    report(outcomes, plan.family, began.elapsed(), args.json)
}

/// A server is asked in its own family.
fn family(args: &VerifyArgs) -> miette::Result<Family> {
    let family = if args.ipv6 {
        Family::Ipv6
    } else {
        Family::Ipv4
    };
    match args.stun.map(|server| (server, Family::of(server.ip()))) {
        Some((server, of_server)) if of_server != family => Err(miette!(
            help = match family {
                Family::Ipv4 => "add --ipv6 to measure IPv6 firewalls against it",
                Family::Ipv6 => "leave out --ipv6 to measure NAT boxes against it",
            },
            "--stun {server} is an address of {of_server}, and {family} is to be measured"
        )),
        _ => Ok(family),
    }
}

/// The node that was named, or all that the inventory has behind a NAT.
fn wanted(fleet: &Fleet, word: Option<&str>, family: Family) -> miette::Result<Vec<NodeName>> {
    let mut nodes = match word {
        Some(_) => chosen(fleet, word)?,
        None => fleet.nodes.iter().filter(|n| n.nat.is_some()).collect(),
    };
    if nodes.is_empty() {
        return Err(miette!(
            help = "name a node that has a NAT box",
            "no node of fleet {} is behind a NAT",
            fleet.name
        ));
    }
    nodes.retain(|node| node.address_in(family).is_some());
    if nodes.is_empty() {
        return Err(miette!(
            help = "the inventory's `addresses` may hold one of each family",
            "{} of fleet {} has no {family} address",
            word.unwrap_or("what is behind a NAT"),
            fleet.name
        ));
    }
    Ok(nodes.into_iter().map(|node| node.name.clone()).collect())
}

fn bootstrap(project: &Project, fleet: &Fleet) -> Vec<NodeName> {
    let config = project.settings();
    let of = |module: &String| config.bootstrap_nodes(fleet, module);
    let nodes = config.modules.keys().flat_map(of);
    nodes.map(|(node, _)| node.name.clone()).collect()
}

/// `udp-test` from beside this program, else built.
pub fn prober(project: &Project) -> miette::Result<Prober> {
    let beside = std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("udp-test"))
        .filter(|path| path.is_file());
    let path = match beside {
        Some(path) => path,
        None => build(project)?,
    };
    let deploy = &project.settings().deploy;
    Ok(Prober {
        binary: Artifact::read(&path).map_err(|e| Infrastructure::from_error(&e))?,
        install_path: deploy.install_path.clone(),
    })
}

fn build(project: &Project) -> miette::Result<std::path::PathBuf> {
    let workspace = project.workspace()?;
    let status = Command::new("cargo")
        .args(["build", "-p", "udp-test"])
        .current_dir(&workspace)
        .status()
        .into_diagnostic()
        .wrap_err("cannot run cargo")?;
    let made = workspace.join("target/debug/udp-test");
    if status.success() && made.is_file() {
        Ok(made)
    } else {
        Err(miette!(
            "`cargo build -p udp-test` in {} made no prober",
            workspace.display()
        ))
    }
}

/// All boxes side by side. Outcomes are in the order of the nodes.
///
/// # Errors
/// No reflector can be had: nothing can be measured.
pub async fn certify(
    prober: &Prober,
    reach: &Reach,
    fleet: &Fleet,
    nodes: &[&Node],
    bootstrap: &[NodeName],
    plan: &Plan,
) -> miette::Result<Vec<(NodeName, miette::Result<Measured>)>> {
    let placed = prober.reflectors(fleet, plan.family, |name| bootstrap.contains(name));
    let (reflecting, hosts) = tokio::join!(
        reflect(prober, reach, fleet, &placed, plan),
        join_all(nodes.iter().map(|node| prepare(prober, reach, node, plan)))
    );
    reflecting?;
    let addresses: Vec<SocketAddr> = placed.iter().map(|(_, address)| *address).collect();
    let measured = nodes.iter().zip(hosts).map(async |(node, ready)| {
        let outcome = match ready {
            Ok((host, label)) => measure(prober, &host, label, &addresses, plan).await,
            Err(error) => Err(error),
        };
        (node.name.clone(), outcome)
    });
    Ok(join_all(measured).await)
}

async fn reflect(
    prober: &Prober,
    reach: &Reach,
    fleet: &Fleet,
    placed: &[(NodeName, SocketAddr)],
    plan: &Plan,
) -> miette::Result<()> {
    if plan.stun.is_some() {
        return Ok(());
    }
    if placed.is_empty() {
        return Err(miette!(
            help = "add a public node, or name a server of RFC 5780 with --stun",
            "fleet {} has no public node with an {} address to measure from",
            fleet.name,
            plan.family
        ));
    }
    let nodes = placed.iter().filter_map(|(name, _)| fleet.node(name));
    let work = async {
        let hosts = try_join_all(nodes.map(|node| Host::connect(reach, node))).await?;
        let hosts: Vec<&Host> = hosts.iter().collect();
        prober.reflect(&hosts, placed).await
    };
    work.await
        .map_err(|error| Infrastructure::from_error(&error))
}

/// The host with a box and a prober in it, and what the box is to be. With a firewall
/// besides, where that is what is measured.
async fn prepare(
    prober: &Prober,
    reach: &Reach,
    node: &Node,
    plan: &Plan,
) -> miette::Result<(Host, NatSpec)> {
    let failed = |error| Infrastructure::from_error(&error);
    let host = Host::connect(reach, node).await.map_err(failed)?;
    let there = host.nat_label().await.map_err(failed)?;
    let label = match there {
        Some(label) => label,
        None => {
            let nat = node.nat.as_ref().ok_or_else(|| no_box(node))?;
            let nat_box = engine::nat::boxed(nat.spec);
            host.apply_nat(&nat_box).await.map_err(failed)?;
            nat.spec
        }
    };
    if let (Family::Ipv6, Some(IpAddr::V6(own))) = (plan.family, node.address_in(plan.family)) {
        host.apply_firewall(own, label.udp).await.map_err(failed)?;
    }
    prober.install(&host).await.map_err(failed)?;
    Ok((host, label))
}

async fn measure(
    prober: &Prober,
    host: &Host,
    label: NatSpec,
    reflectors: &[SocketAddr],
    plan: &Plan,
) -> miette::Result<Measured> {
    let address = inner_address(&host.node, plan.family)
        .ok_or_else(|| miette!("{} has no {} address", host.name(), plan.family))?;
    // A firewall's timeouts are its kernel's, whatever the box's are.
    let configured = label
        .shortest_timeout()
        .filter(|_| plan.family == Family::Ipv4);
    let kept = match (plan.stun, plan.timeouts) {
        (Some(_), _) => Vec::new(),
        (None, true) => silences(Some(configured.unwrap_or(LONGEST_SILENCE))),
        (None, false) => silences(configured.filter(|seconds| *seconds <= SHORT_TIMEOUT)),
    };
    let seen = prober
        .measure(host, address, reflectors, kept, plan.stun)
        .await
        .map_err(|error| Infrastructure::from_error(&error))?;
    let inventory = host.node.nat.as_ref().map(|nat| nat.spec);
    Ok(Measured {
        node: host.name().clone(),
        family: plan.family,
        label,
        inventory: inventory.filter(|spec| *spec != label),
        certificate: classify(&seen),
        seen,
    })
}

fn report(
    outcomes: Vec<(NodeName, miette::Result<Measured>)>,
    family: Family,
    took: Duration,
    as_json: bool,
) -> miette::Result<ExitCode> {
    let (mut measured, mut failed) = (Vec::new(), Vec::new());
    for (node, outcome) in outcomes {
        match outcome {
            Ok(one) => measured.push(one),
            Err(error) => failed.push((node, error)),
        }
    }
    if as_json {
        println!("{}", certificate::json(&measured, &failed)?);
    } else {
        print!(
            "{}",
            certificate::render(&measured, family, took, Paint::detect())
        );
        for (_, error) in &failed {
            eprintln!("{error:?}");
        }
    }
    let is_usage = |(_, error): &(NodeName, miette::Report)| exit::of(error) == exit::USAGE;
    Ok(if measured.is_empty() && failed.iter().all(is_usage) {
        ExitCode::from(exit::USAGE)
    } else if failed.is_empty() && measured.iter().all(|m| m.mismatch().is_none()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::INFRASTRUCTURE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_leave_out_its_port() {
        let server = "192.0.2.1:3478".parse().unwrap();
        assert_eq!(parse_server("192.0.2.1").unwrap(), server);
        assert_eq!(parse_server("192.0.2.1:3478").unwrap(), server);
        assert!(parse_server("stun.example.org").is_err());
    }
}
