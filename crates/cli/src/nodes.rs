//! `vps-test nodes` and `vps-test clean`: what there is, and what of ours is on it.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use fleet::{FleetError, Host, Reach};
use futures::future::join_all;
use miette::{IntoDiagnostic, WrapErr};
use model::inventory::{Emulation, Fleet, Node, NodeNat, Role};

use crate::exit::{self, Infrastructure};
use crate::ground::Ground;
use crate::project::Project;
use crate::screen::Paint;
use crate::screen::Style;
use crate::screen::grid::nat_word;

#[derive(Debug, Args)]
pub struct NodesArgs {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Only this node
    node: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Go on without asking
    #[arg(long)]
    yes: bool,
}

/// Which hosts are meant.
#[derive(Debug, Args)]
pub struct Place {
    /// The hosts of this inventory, over the internet, instead of the twin's
    #[arg(long, value_name = "FILE", conflicts_with = "twin")]
    pub fleet: Option<PathBuf>,
    /// The twin that is meant
    #[arg(long, value_name = "NAME", default_value = "twin")]
    pub twin: String,
}

impl Place {
    pub fn ground(&self, project: &Project) -> miette::Result<Ground> {
        Ground::choose(self.fleet.as_deref(), &self.twin, project)
    }
}

/// A node and what came of reaching it.
struct Answer<'a> {
    node: &'a Node,
    state: Result<(), String>,
}

pub fn run(args: NodesArgs) -> miette::Result<ExitCode> {
    let project = Project::find()?;
    let ground = args.place.ground(&project)?;
    let inventory = ground.inventory().clone();
    let place = ground.describe();
    let states = match ground.reach_if_up()? {
        Some((fleet, reach)) => states(&fleet, &reach)?,
        None => inventory
            .nodes
            .iter()
            .map(|_| Err("twin is down".to_owned()))
            .collect(),
    };
    let answers: Vec<Answer<'_>> = inventory
        .nodes
        .iter()
        .zip(states)
        .map(|(node, state)| Answer { node, state })
        .collect();
    if args.json {
        println!("{}", json(&answers)?);
    } else {
        print!("{}", listing(&inventory, &place, &answers, Paint::detect()));
    }
    Ok(ExitCode::SUCCESS)
}

pub fn clean(args: CleanArgs) -> miette::Result<ExitCode> {
    let project = Project::find()?;
    let ground = args.place.ground(&project)?;
    let place = ground.describe();
    let Some((fleet, reach)) = ground.reach_if_up()? else {
        println!("{place} is down; there is nothing on it");
        return Ok(ExitCode::SUCCESS);
    };
    let chosen = chosen(&fleet, args.node.as_deref())?;
    let names: Vec<&str> = chosen.iter().map(|node| node.name.as_str()).collect();
    println!(
        "clean removes every unit, binary, NAT box and file of vps-test from {}, {place}",
        names.join(", ")
    );
    if !args.yes && !crate::interview::confirm()? {
        return Ok(ExitCode::SUCCESS);
    }
    let path = &project.settings().deploy.install_path;
    let outcomes = block_on(join_all(
        chosen.iter().map(|node| clean_one(&reach, node, path)),
    ))?;
    let mut failed = false;
    for (node, outcome) in chosen.iter().zip(outcomes) {
        match outcome {
            Ok(()) => println!("{}: clean", node.name),
            Err(error) => {
                failed = true;
                eprintln!("{error}");
            }
        }
    }
    Ok(if failed {
        ExitCode::from(exit::INFRASTRUCTURE)
    } else {
        ExitCode::SUCCESS
    })
}

pub fn chosen<'a>(fleet: &'a Fleet, word: Option<&str>) -> miette::Result<Vec<&'a Node>> {
    let Some(word) = word else {
        return Ok(fleet.nodes.iter().collect());
    };
    match model::config::node_by_any_name(fleet, word) {
        Some(node) => Ok(vec![node]),
        None => {
            let known = fleet.nodes.iter().map(|n| n.name.as_str());
            Err(model::config::UnknownChoice::new("node", word, known).into())
        }
    }
}

async fn clean_one(reach: &Reach, node: &Node, install_path: &str) -> Result<(), FleetError> {
    Host::connect(reach, node).await?.clean(install_path).await
}

fn states(fleet: &Fleet, reach: &Reach) -> miette::Result<Vec<Result<(), String>>> {
    block_on(join_all(fleet.nodes.iter().map(|node| state(reach, node))))
}

async fn state(reach: &Reach, node: &Node) -> Result<(), String> {
    Host::connect(reach, node)
        .await
        .map(drop)
        .map_err(|e| e.to_string())
}

pub fn block_on<T>(future: impl Future<Output = T>) -> miette::Result<T> {
    let runtime = tokio::runtime::Runtime::new()
        .into_diagnostic()
        .wrap_err("cannot start threads");
    runtime
        .map(|runtime| runtime.block_on(future))
        .map_err(|e| Infrastructure::from_error(e.as_ref()))
}

fn json(answers: &[Answer<'_>]) -> miette::Result<String> {
    let all: Vec<_> = answers
        .iter()
        .map(|a| {
            serde_json::json!({
                "name": a.node.name, "hostname": a.node.hostname, "addresses": a.node.addresses,
                "provider": a.node.provider, "region": a.node.region, "role": a.node.role,
                "nat": a.node.nat.as_ref().map(|nat| nat.spec.to_string()),
                "online": a.state.is_ok(), "detail": a.state.as_ref().err(),
            })
        })
        .collect();
    serde_json::to_string_pretty(&all).into_diagnostic()
}

fn listing(fleet: &Fleet, place: &str, answers: &[Answer<'_>], paint: Paint) -> String {
    let title = format!("Nodes of fleet {}, {place}", fleet.name);
    let mut out = format!(
        "{}\n{}\n\n",
        paint.text(Style::Strong, &title),
        "=".repeat(title.len())
    );
    let rows: Vec<[String; 4]> = answers.iter().map(|a| row(a.node)).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 4] = std::array::from_fn(width);
    for (answer, row) in answers.iter().zip(&rows) {
        let (word, style) = if answer.state.is_ok() {
            ("ONLINE ", Style::Good)
        } else {
            ("OFFLINE", Style::Bad)
        };
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(text, width)| format!("{text:width$}"))
            .collect();
        let line = format!(
            "{}  {}  {}",
            cells.join("  "),
            paint.text(style, word),
            remarks(answer.node)
        );
        let _ = writeln!(out, "{}", line.trim_end());
        if let Err(why) = &answer.state {
            let _ = writeln!(out, "    {}", paint.text(Style::Dim, why));
        }
    }
    out.push_str(&nat_summary(fleet, paint));
    out
}

fn row(node: &Node) -> [String; 4] {
    let role = match (&node.nat, node.role) {
        (Some(nat), _) => format!("(NAT: {})", nat_word(Some(nat.spec.effective()))),
        (None, Role::Registry) => "(Registry)".into(),
        (None, Role::Bootstrap) => "(Bootstrap)".into(),
        (None, _) => "(Test)".into(),
    };
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    [
        node.name.to_string(),
        role,
        addresses.join(" "),
        format!("{}/{}", node.provider, node.region),
    ]
}

fn remarks(node: &Node) -> String {
    let mut remarks = node.services.clone();
    if let Some(nat) = &node.nat {
        let how = match nat.emulation {
            Emulation::Docker => "Docker",
            Emulation::Netns => "Netns",
        };
        let by = nat.emulated_by.join(", ");
        remarks.push(if by.is_empty() {
            how.into()
        } else {
            format!("{how}: {by}")
        });
    }
    remarks.extend(node.note.clone());
    if remarks.is_empty() {
        String::new()
    } else {
        format!("[{}]", remarks.join("; "))
    }
}

fn nat_summary(fleet: &Fleet, paint: Paint) -> String {
    let boxed: Vec<(&Node, &NodeNat)> = fleet
        .nodes
        .iter()
        .filter_map(|node| Some((node, node.nat.as_ref()?)))
        .collect();
    if boxed.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", paint.text(Style::Strong, "NAT Emulation Summary"));
    for (node, nat) in &boxed {
        let difficulty = nat.difficulty.as_deref().unwrap_or("no difficulty given");
        let expected = nat
            .expected_success
            .map_or(String::new(), |rate| format!(" - {rate}% expected"));
        let _ = writeln!(
            out,
            "  {:<12} {:<34} ({difficulty}{expected})",
            format!("{}:", node.name),
            nat.spec.to_string(),
        );
    }
    if boxed
        .iter()
        .any(|(_, nat)| nat.emulation == Emulation::Docker)
    {
        out.push_str(
            "  The Docker NATs are realised as NAT boxes (nftables, namespace `natbox`): the containers'\n  \
             rules are one and the same NAT under three names. Each box is measured before any test.\n",
        );
    }
    out
}
