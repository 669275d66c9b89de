//! What it takes to try one failure of a run again: the nodes that it names, whom
//! they meet through, and everything else as it was.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use engine::RunDir;
use miette::{IntoDiagnostic, WrapErr};
use model::config::{BuildConfig, Config, Module, Nodes};
use model::event::Plan;
use model::inventory::{Fleet, NodeName};
use model::run::Run;
use serde_json::Value;

use super::failure::Failure;
use crate::exit::Infrastructure;
use crate::started::{GroundRecord, Started};

pub const STATE: &str = "runs";
pub const STATE_VARIABLE: &str = "VPS_TEST_STATE_DIR";
const BINARIES: &str = "bin";
const MARK: &str = "# Written by `vps-test repro`";

/// NATs are measured from two public nodes.
const PUBLIC: usize = 2;

pub struct Scene {
    pub project: String,
    /// Of `vps-test`.
    pub words: Vec<String>,
    /// What is not as it was.
    pub notes: Vec<String>,
    ends: Vec<NodeName>,
    others: Vec<NodeName>,
    /// Name and digest; the tester's is the first.
    binaries: Vec<(String, String)>,
    inventory: String,
    inventory_file: String,
    config: String,
}

impl Scene {
    pub fn of(
        run: &Run,
        started: &Started,
        failure: &Failure<'_>,
        all_nodes: bool,
    ) -> miette::Result<Self> {
        let plan = run.plan.as_ref();
        let plan = plan.ok_or_else(|| miette::miette!("the run has no plan"))?;
        let text = inventory(&started.ground);
        let fleet = model::inventory::read("the run's inventory", text)?;
        let tested = tested(plan);
        let ends = if all_nodes {
            tested
        } else {
            in_company(&tested, &failure.ends())
        };
        let (module_name, module) = started
            .config
            .module_of(&started.project)
            .ok_or_else(|| miette::miette!("no module tests `{}`", started.project))?;
        let meeting = started.config.bootstrap_nodes(&fleet, module_name);
        let meeting: Vec<&NodeName> = meeting.iter().map(|(node, _)| &node.name).collect();
        let nodes = nodes(&fleet, &ends, &meeting);
        let inventory_file = format!("fleets/{}.yaml", fleet.name);
        Ok(Self {
            project: started.project.clone(),
            words: words(plan, failure),
            notes: notes(run, started, failure, &module.binary),
            binaries: binaries(run, module)?,
            inventory: only(text, &nodes)?,
            config: config(&started.config, &inventory_file, &ends)?,
            others: nodes.into_iter().filter(|n| !ends.contains(n)).collect(),
            ends,
            inventory_file,
        })
    }

    /// How many nodes are tested.
    pub fn tested(&self) -> usize {
        self.ends.len()
    }

    pub fn nodes_told(&self) -> Vec<String> {
        let names: Vec<&str> = self.others.iter().map(NodeName::as_str).collect();
        let ends: Vec<&str> = self.ends.iter().map(NodeName::as_str).collect();
        let what = match ends.len() {
            2 => "the two ends",
            _ => "tested",
        };
        let mut told = vec![format!("nodes      {}: {what}", ends.join(", "))];
        if !names.is_empty() {
            told.push(format!(
                "           {}: whom they meet through",
                names.join(", ")
            ));
        }
        told
    }

    pub fn binaries_told(&self) -> String {
        let named = |(name, digest): &(String, String)| format!("{name} {}", &digest[..12]);
        let all: Vec<String> = self.binaries.iter().map(named).collect();
        format!("{}, as the run built them", all.join(", "))
    }

    pub fn words_told(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| fleet::quote(word)).collect();
        words.join(" ")
    }

    /// Everything that the words need, in a directory of its own.
    pub fn write(&self, dir: &RunDir, out: &Path) -> miette::Result<()> {
        let config = out.join("vps-test.yaml");
        let is_ours = |text: String| text.starts_with(MARK);
        if out.exists() && !std::fs::read_to_string(&config).is_ok_and(is_ours) {
            miette::bail!(
                help = "remove it, or name another directory with --out",
                "`{}` is there, and is nothing that repro wrote",
                out.display()
            );
        }
        let failed = |e: std::io::Error| Infrastructure::from_error(&e);
        for part in [BINARIES, "fleets"] {
            // The config may hold what is nobody else's business.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(out.join(part))
                .map_err(failed)?;
        }
        for (name, digest) in &self.binaries {
            let kept = dir.binaries().join(digest).join(name);
            let to = out.join(BINARIES).join(name);
            let _ = std::fs::remove_file(&to);
            std::fs::copy(&kept, &to)
                .into_diagnostic()
                .wrap_err_with(|| {
                    format!(
                        "the run's `{name}` is gone: cannot copy `{}`",
                        kept.display()
                    )
                })?;
        }
        std::fs::write(out.join(&self.inventory_file), &self.inventory).map_err(failed)?;
        std::fs::write(config, &self.config).map_err(failed)
    }
}

fn tested(plan: &Plan) -> Vec<NodeName> {
    let tested = plan.nodes.iter().filter(|node| node.tested);
    tested.map(|node| node.name.clone()).collect()
}

/// Those of the tested nodes that were named, and another one where that is one alone:
/// it may have failed with somebody.
fn in_company(tested: &[NodeName], named: &[NodeName]) -> Vec<NodeName> {
    let (mut chosen, others): (Vec<NodeName>, Vec<NodeName>) = tested
        .iter()
        .cloned()
        .partition(|node| named.contains(node));
    if chosen.len() < 2 {
        chosen.extend(others.into_iter().take(2 - chosen.len()));
    }
    chosen
}

fn inventory(ground: &GroundRecord) -> &str {
    match ground {
        GroundRecord::Twin { inventory, .. } | GroundRecord::Hosts { inventory, .. } => inventory,
    }
}

/// In the inventory's order.
fn nodes(fleet: &Fleet, ends: &[NodeName], meeting: &[&NodeName]) -> Vec<NodeName> {
    let is_in = |name: &NodeName| ends.contains(name) || meeting.contains(&name);
    let mut missing = PUBLIC.saturating_sub(
        fleet
            .nodes
            .iter()
            .filter(|n| n.is_public() && is_in(&n.name))
            .count(),
    );
    let mut chosen = Vec::new();
    for node in &fleet.nodes {
        let fills = !is_in(&node.name) && node.is_public() && node.is_tested() && missing > 0;
        missing -= usize::from(fills);
        if fills || is_in(&node.name) {
            chosen.push(node.name.clone());
        }
    }
    chosen
}

/// The same file with these nodes and the links between them.
fn only(inventory: &str, nodes: &[NodeName]) -> miette::Result<String> {
    let mut all: Value = serde_saphyr::from_str(inventory).into_diagnostic()?;
    let is_in = |name: &Value| nodes.iter().any(|n| name.as_str() == Some(n.as_str()));
    if let Some(list) = all.pointer_mut("/nodes").and_then(Value::as_array_mut) {
        list.retain(|node| is_in(&node["name"]));
    }
    if let Some(list) = all.pointer_mut("/wan/links").and_then(Value::as_array_mut) {
        list.retain(|link| is_in(&link["from"]) && is_in(&link["to"]));
    }
    let text = serde_saphyr::to_string(&all).into_diagnostic()?;
    model::inventory::read("the pair's inventory", &text)?;
    Ok(format!("{MARK}\n{text}"))
}

/// As it was, but for the pair alone, with what was built, and without anybody who
/// mends it or is told.
fn config(config: &Config, inventory: &str, ends: &[NodeName]) -> miette::Result<String> {
    let mut config = config.clone();
    config.workspace = ".".into();
    config.fleet = Some(inventory.to_owned());
    config.state_dir = None;
    config.build = BuildConfig {
        path: Some(BINARIES.into()),
        release: None,
        fallback: None,
        ..config.build
    };
    config.deploy.nodes = Nodes::Listed(ends.iter().map(ToString::to_string).collect());
    if let Some(bootstrap) = &mut config.bootstrap {
        bootstrap.registry = None;
    }
    config.fix.command = None;
    config.fix.agent = None;
    config.fix.wait = model::config::Wait::Seconds(0);
    config.notify.on.clear();
    let text = serde_saphyr::to_string(&config).into_diagnostic()?;
    Ok(format!("{MARK}\n{text}"))
}

fn words(plan: &Plan, failure: &Failure<'_>) -> Vec<String> {
    let criteria = match plan.criteria_mode.as_str() {
        // Against what, without the runs before?
        "improvement" => "threshold",
        other => other,
    };
    let mut words: Vec<String> = [
        "start",
        &plan.project,
        failure.suite().as_str(),
        criteria,
        "all-evidence",
        "--yes",
        "--soak",
        "0",
        "--twin",
        &twin(failure),
    ]
    .map(str::to_owned)
    .to_vec();
    if criteria == "custom" {
        words.extend(["--criteria-expr".into(), plan.expressions.join(" and ")]);
    }
    words
}

/// A twin's name has at most 32 letters, digits and `-`.
fn twin(failure: &Failure<'_>) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = format!("repro-{}", failure.name())
        .chars()
        .map(plain)
        .collect();
    name.chars().take(32).collect()
}

fn notes(run: &Run, started: &Started, failure: &Failure<'_>, tester: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if let GroundRecord::Hosts { file, .. } = &started.ground {
        notes.push(format!(
            "the run was on the hosts of {}, and this is their twin: its links are the inventory's",
            file.display()
        ));
    }
    let built: Vec<&str> = run
        .builds
        .iter()
        .filter(|build| build.binary == tester)
        .map(|build| build.sha256.as_str())
        .collect();
    if built.iter().any(|digest| Some(digest) != built.last()) {
        notes.push(format!(
            "the run built several {tester}, and this is the newest; the failure was of cycle {}",
            failure.cycle()
        ));
    }
    if run
        .plan
        .as_ref()
        .is_some_and(|p| p.criteria_mode == "improvement")
    {
        notes.push("the criteria are `threshold`: there is no earlier run to improve on".into());
    }
    notes
}

/// The newest of each that the run needs.
fn binaries(run: &Run, module: &Module) -> miette::Result<Vec<(String, String)>> {
    let tester = &module.binary;
    let newest = |name: &str| {
        let built = run.builds.iter().rev().find(|build| build.binary == name);
        built.map(|build| (name.to_owned(), build.sha256.clone()))
    };
    let tester = newest(tester).ok_or_else(|| miette::miette!("the run built no `{tester}`"))?;
    let companions = module.companions.keys().map(String::as_str);
    let others = ["udp-test", "vps-test-registry"]
        .into_iter()
        .chain(companions)
        .filter_map(newest);
    Ok(std::iter::once(tester).chain(others).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVENTORY: &str = "\
fleet: small
wan:
  links:
    - { from: one, to: cone, delay_ms: 30 }
    - { from: hub, to: cone, delay_ms: 40 }
nodes:
  - { name: hub, addresses: [192.0.2.1], role: registry }
  - { name: meet, addresses: [192.0.2.11], role: bootstrap }
  - { name: one, addresses: [192.0.2.12], role: test }
  - { name: two, addresses: [192.0.2.13], role: test }
  - { name: cone, addresses: [192.0.2.21], role: nat, nat: { type: full-cone } }
  - { name: port, addresses: [192.0.2.22], role: nat, nat: { type: port-restricted } }
";

    fn named(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|name| NodeName::new(*name)).collect()
    }

    #[test]
    fn the_two_ends_and_whom_they_meet_through() {
        let fleet = model::inventory::read("f", INVENTORY).unwrap();
        let meet = NodeName::new("meet");
        let chosen = nodes(&fleet, &named(&["one", "cone"]), &[&meet]);
        assert_eq!(chosen, named(&["meet", "one", "cone"]));
        // NATs are measured from two public nodes, so a third party is needed.
        let chosen = nodes(&fleet, &named(&["port", "cone"]), &[&meet]);
        assert_eq!(chosen, named(&["meet", "one", "cone", "port"]));
    }

    #[test]
    fn links_to_nodes_that_are_left_out_go_with_them() {
        let text = only(INVENTORY, &named(&["meet", "one", "cone"])).unwrap();
        let fleet = model::inventory::read("f", &text).unwrap();
        assert_eq!(fleet.nodes.len(), 3);
        assert_eq!(fleet.wan.links.len(), 1);
        assert_eq!(fleet.wan.links[0].delay_ms, Some(30.0));
    }

    #[test]
    fn the_config_reads_back_and_tests_the_pair_alone() {
        let defaults = model::config::ConfigFile::defaults().unwrap().config;
        let ends = [NodeName::new("one"), NodeName::new("cone")];
        let text = config(&defaults, "fleets/small.yaml", &ends).unwrap();
        let back = model::config::read("c", &text).unwrap().config;
        assert_eq!(back.build.path.as_deref(), Some(BINARIES));
        assert_eq!(
            back.deploy.nodes,
            Nodes::Listed(vec!["one".into(), "cone".into()])
        );
        assert_eq!(back.tests, defaults.tests);
        assert!(back.notify.on.is_empty());
    }
}
