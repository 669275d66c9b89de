//! `vps-test nat`: NAT boxes outside a run.

mod certificate;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use fleet::{Host, Reach};
use miette::miette;
use model::inventory::{Fleet, Node, read_nat};
use model::nat::NatSpec;

use crate::exit::{self, Infrastructure};
use crate::ground::Ground;
use crate::nodes::{Place, block_on, chosen};
use crate::project::Project;

pub use verify::{Plan, certify, prober};

#[derive(Debug, Args)]
pub struct NatArgs {
    #[command(subcommand)]
    command: NatCommand,
}

#[derive(Debug, Subcommand)]
enum NatCommand {
    /// Put a node's testers behind a NAT of this type, in place of the one there is
    Apply {
        node: String,
        /// full-cone, symmetric, …; MAPPING/FILTERING as in ADM/EIF; or all that an
        /// inventory's `nat` holds: '{ type: symmetric, hairpin: true }'
        #[arg(value_name = "TYPE")]
        nat: String,
        #[command(flatten)]
        place: Asked,
    },
    /// Measure what NAT boxes are and compare it with what they are to be
    Verify(verify::VerifyArgs),
    /// Remove a node's NAT box
    Remove {
        node: String,
        #[command(flatten)]
        place: Asked,
    },
    /// Have a NAT box forget its mappings, as a router does that restarts
    Rebind {
        node: String,
        #[command(flatten)]
        place: Asked,
    },
}

/// Which hosts are meant, and whether their owner has agreed.
#[derive(Debug, Args)]
struct Asked {
    #[command(flatten)]
    place: Place,
    /// Do not ask before something is done to hosts of --fleet
    #[arg(long)]
    yes: bool,
}

pub fn run(args: NatArgs) -> miette::Result<ExitCode> {
    match args.command {
        NatCommand::Apply { node, nat, place } => apply(&node, &nat, &place),
        NatCommand::Verify(args) => verify::run(args),
        NatCommand::Remove { node, place } => remove(&node, &place),
        NatCommand::Rebind { node, place } => rebind(&node, &place),
    }
}

fn apply(word: &str, nat: &str, asked: &Asked) -> miette::Result<ExitCode> {
    let spec = read_nat(nat)?;
    let on = Hosts::of(asked)?;
    let node = on.node(word)?;
    if !asked.agreed(&format!("put the testers of {} behind {spec}", node.name))? {
        return Ok(ExitCode::from(exit::USAGE));
    }
    on.perform(node, async |host| {
        host.apply_nat(&engine::nat::boxed(spec)).await
    })?;
    println!("{}: {spec}", node.name);
    let labelled = node.nat.as_ref().map(|nat| nat.spec);
    if labelled != Some(spec) {
        println!(
            "  the inventory says {}; a run makes it that again",
            said(labelled)
        );
    }
    println!("  measure it with `vps-test nat verify {}`", node.name);
    Ok(ExitCode::SUCCESS)
}

fn remove(word: &str, asked: &Asked) -> miette::Result<ExitCode> {
    let on = Hosts::of(asked)?;
    let node = on.node(word)?;
    if !asked.agreed(&format!("remove the NAT box of {}", node.name))? {
        return Ok(ExitCode::from(exit::USAGE));
    }
    let was = on.perform(node, async |host| host.remove_nat().await)?;
    let what = if was {
        "NAT box removed"
    } else {
        "there was no NAT box"
    };
    println!("{}: {what}", node.name);
    Ok(ExitCode::SUCCESS)
}

fn rebind(word: &str, asked: &Asked) -> miette::Result<ExitCode> {
    let on = Hosts::of(asked)?;
    let node = on.node(word)?;
    if !asked.agreed(&format!(
        "cut all UDP flows of the testers of {}",
        node.name
    ))? {
        return Ok(ExitCode::from(exit::USAGE));
    }
    let spec = on.perform(node, async |host| {
        let label = host.nat_label().await?;
        if let Some(spec) = label {
            host.rebind_nat(&engine::nat::boxed(spec)).await?;
        }
        Ok(label)
    })?;
    match spec {
        Some(spec) => {
            println!("{}: {spec}", node.name);
            println!("  all mappings are forgotten; what is sent next leaves by another port");
            Ok(ExitCode::SUCCESS)
        }
        None => Err(no_box(node)),
    }
}

fn no_box(node: &Node) -> miette::Report {
    miette!(
        help = format!("vps-test nat apply {} TYPE", node.name),
        "{} has no NAT box",
        node.name
    )
}

fn said(spec: Option<NatSpec>) -> String {
    spec.map_or("that it is public".into(), |spec| spec.to_string())
}

impl Asked {
    /// The twin is nobody's; other hosts are somebody's.
    fn agreed(&self, what: &str) -> miette::Result<bool> {
        let Some(file) = self.place.fleet.as_deref().filter(|_| !self.yes) else {
            return Ok(true);
        };
        println!("this will {what}, fleet {}", file.display());
        crate::interview::confirm()
    }
}

/// Hosts that are there.
struct Hosts {
    fleet: Fleet,
    reach: Reach,
}

impl Hosts {
    fn of(asked: &Asked) -> miette::Result<Self> {
        let project = Project::find()?;
        let place = &asked.place;
        let ground = Ground::choose(place.fleet.as_deref(), &place.twin, &project)?;
        let what = ground.describe();
        let there = ground.reach_if_up()?;
        let (fleet, reach) = there.ok_or_else(|| {
            miette!(
                help =
                    "boot it with `vps-test lab up`, or name hosts of your own with --fleet FILE",
                "{what} is down"
            )
        })?;
        Ok(Self { fleet, reach })
    }

    fn node(&self, word: &str) -> miette::Result<&Node> {
        chosen(&self.fleet, Some(word)).map(|nodes| nodes[0])
    }

    fn perform<T>(
        &self,
        node: &Node,
        work: impl AsyncFnOnce(&Host) -> Result<T, fleet::FleetError>,
    ) -> miette::Result<T> {
        let done = block_on(async {
            let host = Host::connect(&self.reach, node).await?;
            work(&host).await
        })?;
        done.map_err(|error| Infrastructure::from_error(&error))
    }
}
