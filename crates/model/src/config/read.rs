//! A config file, read over the defaults and checked, alone and against a fleet.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Config, FixAgent, Nodes, Wait, parse_duration};
use crate::inventory::{Fleet, MOST_PEERS, Node, Role, Transport};
use crate::notice::NoticeKind;
use crate::problem::{Problem, Problems, Source, did_you_mean, none_or};

const DEFAULTS: &str = include_str!("default.yaml");

/// A config and the text it came from, so that later checks can point into it.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub config: Config,
    source: Source,
}

/// Reads a config over the defaults; `file` is for messages, an empty text is the defaults.
///
/// # Errors
/// Everything that is wrong with it, each with its line and a remedy.
pub fn read(file: &str, text: &str) -> Result<ConfigFile, Problems> {
    let source = Source::new(file, text);
    if !text.trim().is_empty() {
        let _: shape::Config = source.parse()?;
    }
    let mut merged: Value = Source::new("default.yaml", DEFAULTS).parse()?;
    let own: Option<Value> = if text.trim().is_empty() {
        None
    } else {
        source.parse()?
    };
    if let Some(own) = own {
        overlay(&mut merged, own);
    }
    let config: Config = serde_json::from_value(merged)
        .map_err(|e| source.problem(0, 0, format!("incomplete: {e}"), "add what is missing"))?;
    none_or(problems(&config, &source))?;
    Ok(ConfigFile { config, source })
}

impl ConfigFile {
    /// The defaults alone.
    ///
    /// # Errors
    /// Never, unless the embedded defaults are broken, which a test forbids.
    pub fn defaults() -> Result<Self, Problems> {
        read("default.yaml", "")
    }

    /// What only shows beside an inventory: bootstrap nodes, registry and deploy
    /// list must be in it.
    ///
    /// # Errors
    /// Everything that contradicts it.
    pub fn check_against(&self, fleet: &Fleet) -> Result<(), Problems> {
        let mut found = Vec::new();
        let bootstrap = self.config.bootstrap.as_ref();
        for entry in bootstrap.iter().flat_map(|b| &b.nodes) {
            let Some((host, _)) = entry.rsplit_once(':') else {
                continue;
            };
            match node_by_any_name(fleet, host) {
                None => found.push(self.stranger(entry, host, fleet)),
                Some(node) if !node.is_public() => found.push(self.source.problem_with(
                    entry,
                    format!("bootstrap {} is behind a NAT", node.name),
                    "peers find each other through it: take a public node",
                )),
                Some(_) => {}
            }
        }
        if let Some(url) = bootstrap.and_then(|b| b.registry.as_deref()) {
            let host = registry_host(url);
            if node_by_any_name(fleet, host).is_none() {
                found.push(self.stranger(url, host, fleet));
            }
        }
        if let Nodes::Listed(names) = &self.config.deploy.nodes {
            let unknown = names
                .iter()
                .filter(|name| node_by_any_name(fleet, name).is_none());
            found.extend(unknown.map(|name| self.stranger(name, name, fleet)));
        }
        if let Some(word) = self.config.build.fallback.as_deref() {
            match node_by_any_name(fleet, word) {
                None => found.push(self.stranger(word, word, fleet)),
                Some(node) if node.is_tested() => found.push(self.source.problem_with(
                    word,
                    format!("build.fallback {} is a test node", node.name),
                    "nothing is ever built on a test node: take one with the role registry",
                )),
                Some(_) => {}
            }
        }
        none_or(found)
    }

    fn stranger(&self, token: &str, host: &str, fleet: &Fleet) -> Problem {
        let names = fleet
            .nodes
            .iter()
            .flat_map(|n| [n.name.as_str(), n.hostname.as_str()]);
        let help = match did_you_mean(host, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "add it to the inventory of fleet `{}`, or take a node that is in it",
                fleet.name
            ),
        };
        self.source
            .problem_with(token, format!("`{host}` is not in the inventory"), help)
    }
}

/// By name, hostname or any address.
pub fn node_by_any_name<'a>(fleet: &'a Fleet, word: &str) -> Option<&'a Node> {
    fleet.nodes.iter().find(|n| n.is_called(word))
}

fn registry_host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

impl Config {
    /// Public nodes that a project's peers are told to start from, with the port they
    /// listen on: the config's, but for one that the inventory gives to another
    /// project; then the inventory's for this one; then one that no other module has.
    pub fn bootstrap_nodes<'a>(&self, fleet: &'a Fleet, module: &str) -> Vec<(&'a Node, u16)> {
        let listed = self.bootstrap.iter().flat_map(|b| &b.nodes);
        let found: Vec<_> = listed
            .filter_map(|entry| {
                let (host, port) = entry.rsplit_once(':')?;
                let (node, port) = (node_by_any_name(fleet, host)?, port.parse().ok()?);
                let others = self.modules.keys().filter(|name| *name != module);
                let is_others = others
                    .filter_map(|other| self.port_at(node, other))
                    .any(|other| other == port);
                let own = self.port_at(node, module).filter(|_| is_others);
                Some((node, own.unwrap_or(port)))
            })
            .collect();
        if !found.is_empty() {
            return found;
        }
        let by_role = fleet.nodes.iter().filter(|n| n.role == Role::Bootstrap);
        let any_public = fleet.tested().filter(|n| n.is_public()).take(2);
        let chosen: Vec<&Node> = by_role.collect();
        let chosen = if chosen.is_empty() {
            any_public.collect()
        } else {
            chosen
        };
        let (place, _) = self.place_of(module);
        let default = DEFAULT_BOOTSTRAP_PORT + PORTS_EACH * u16::try_from(place).unwrap_or(0);
        chosen
            .into_iter()
            .map(|node| (node, self.port_at(node, module).unwrap_or(default)))
            .collect()
    }

    /// What the inventory lists for a project, by its name or its tester's.
    fn port_at(&self, node: &Node, module: &str) -> Option<u16> {
        let project = self.modules.get(module)?.project.as_deref();
        let project = project.unwrap_or(module);
        let names = [
            project.to_owned(),
            format!("{project}-test"),
            module.to_owned(),
        ];
        let port = names.iter().find_map(|name| node.ports.get(name))?;
        (port.transport == Transport::Udp).then_some(port.number)
    }

    /// The node that runs the registry, and its port; `None` where the fleet has none.
    pub fn registry_node<'a>(&self, fleet: &'a Fleet) -> Option<(&'a Node, u16)> {
        let url = self.bootstrap.as_ref().and_then(|b| b.registry.as_deref());
        match url {
            Some(url) => Some((
                node_by_any_name(fleet, registry_host(url))?,
                registry_port(url),
            )),
            None => Some((fleet.nodes.iter().find(|n| n.role == Role::Registry)?, 443)),
        }
    }
}

/// Where the config names no bootstrap and so no port.
const DEFAULT_BOOTSTRAP_PORT: u16 = 9000;

/// A coordinator may take some ports after its own.
const PORTS_EACH: u16 = 10;

fn registry_port(url: &str) -> u16 {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .unwrap_or(443)
}

/// 0 where no transfer would send anything.
fn least_streams(streams: &[u16]) -> u64 {
    streams.iter().copied().min().map_or(0, u64::from)
}

fn problems(config: &Config, source: &Source) -> Vec<Problem> {
    let mut found = Vec::new();
    let connectivity = &config.tests.connectivity;
    for (what, values) in [
        ("success_criteria", connectivity.success_criteria),
        ("margins", connectivity.margins),
    ] {
        for (name, value) in values.named() {
            if !(0.0..=100.0).contains(&value) {
                let message = format!("{what}.{name} is {value}, which is not a percentage");
                found.push(source.problem_with(
                    &value.to_string(),
                    message,
                    "give a number from 0 to 100",
                ));
            }
        }
    }
    let improvement = config.criteria.improvement;
    for (name, value) in [
        ("margin", improvement.margin),
        ("tolerance", improvement.tolerance),
    ] {
        if !(0.0..100.0).contains(&value) {
            found.push(source.problem_with(
                &value.to_string(),
                format!("criteria.improvement.{name} is {value}"),
                "give a number from 0 up and below 100",
            ));
        }
    }
    if config.build.path.is_some() && config.build.release.is_some() {
        found.push(source.problem_with(
            "release",
            "build has both a path and a release",
            "binaries come from one place: remove one of them",
        ));
    }
    let registry = config
        .bootstrap
        .as_ref()
        .and_then(|b| b.registry.as_deref());
    if let Some(url) = registry.filter(|url| !url.starts_with("https://")) {
        found.push(source.problem_with(
            url,
            format!("`{url}` is not an https address"),
            "peers send a token there: write https://HOST or https://HOST:PORT",
        ));
    }
    for ((name, target), (_, margin)) in connectivity
        .success_criteria
        .named()
        .into_iter()
        .zip(connectivity.margins.named())
    {
        if margin <= 0.0 || margin >= target {
            let message = format!(
                "margins.{name} is {margin}, which leaves nothing to tell from the target {target}"
            );
            found.push(source.problem_with(
                "margins",
                message,
                "give a margin above 0 and below the target",
            ));
        }
    }
    for (name, number) in [
        ("budget", u64::from(connectivity.budget)),
        ("payload_bytes", connectivity.payload_bytes),
        ("timeout_seconds", connectivity.timeout_seconds),
        ("total", connectivity.concurrency.total as u64),
        ("per_node", connectivity.concurrency.per_node as u64),
        ("probe_seconds", config.soak.probe_seconds),
        ("max_attempts", u64::from(config.fix.max_attempts)),
        ("sample", connectivity.sample.map_or(1, u64::from)),
        ("pairs", u64::from(config.tests.throughput.pairs)),
        ("seconds", config.tests.throughput.seconds),
        ("streams", least_streams(&config.tests.throughput.streams)),
    ] {
        if number == 0 {
            found.push(source.problem_with(
                name,
                format!("`{name}` is 0"),
                "give a number from 1 up",
            ));
        }
    }
    for (name, suite) in &config.suites {
        found.extend(suite.faults().into_iter().map(|(word, message)| {
            let message = format!("suites.{name}: {message}");
            source.problem_with(&word, message, "declare it under `measures`")
        }));
    }
    let peers = config.deploy.peers_per_node;
    if !(1..=MOST_PEERS).contains(&peers) {
        found.push(source.problem_with(
            "peers_per_node",
            format!("a node cannot have {peers} peers"),
            format!("give a number from 1 to {MOST_PEERS}"),
        ));
    }
    for (name, wait) in [
        ("wait_1hr", &config.soak.wait_1hr),
        ("wait_6hr", &config.soak.wait_6hr),
        ("timeout", &config.fix.timeout),
        ("wait", &config.fix.wait),
    ] {
        if let Wait::Text(text) = wait
            && parse_duration(text).is_none()
        {
            found.push(source.problem_with(
                name,
                format!("`{text}` is not a duration"),
                "write true, false, 20s, 5m or 1h",
            ));
        }
    }
    for (name, line) in [
        ("fix.command", &config.fix.command),
        ("fix.test_command", &config.fix.test_command),
        ("notify.hook", &config.notify.hook),
    ] {
        if let Some(line) = line
            .as_deref()
            .filter(|line| line.matches('"').count() % 2 == 1)
        {
            found.push(source.problem_with(
                line,
                format!("`{name}` has a quote that does not end"),
                "it is split into words as a shell would",
            ));
        }
    }
    if config.fix.command.is_some() && config.fix.agent.is_some() {
        found.push(source.problem_with(
            "agent",
            "both fix.command and fix.agent are set",
            "there is one fixer: take one away",
        ));
    }
    for entry in config.bootstrap.iter().flat_map(|b| &b.nodes) {
        if entry
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok())
            .is_none()
        {
            found.push(source.problem_with(
                entry,
                format!("`{entry}` is not HOST:PORT"),
                "write it with its port, such as host:9000",
            ));
        }
    }
    if let Nodes::Word(word) = &config.deploy.nodes
        && word != "all"
    {
        found.push(source.problem_with(
            word,
            format!("`{word}` is not a list of nodes"),
            "write `all`, or a list of names",
        ));
    }
    found
}

/// `own` replaces what it names; maps are merged, everything else is replaced.
/// A module is replaced key by key, so that the request's own sample, which says
/// nothing of projects, keeps the default's.
fn overlay(base: &mut Value, own: Value) {
    match (base, own) {
        (Value::Object(base), Value::Object(own)) => {
            for (key, value) in own {
                overlay(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (base, own) => *base = own,
    }
}

/// The file's shape with everything optional, so that the parser can say where a
/// key is unknown or a value is of the wrong kind.
mod shape {
    use super::*;

    macro_rules! shape {
        ($name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            #[expect(dead_code, reason = "read for its errors; the values come from the merged file")]
            pub struct $name { $($field: Option<$kind>),* }
        };
    }

    shape!(Config {
        workspace: String,
        fleet: String,
        state_dir: String,
        modules: BTreeMap<String, Module>,
        suites: BTreeMap<String, crate::suite::SuiteConfig>,
        focuses: BTreeMap<String, Vec<String>>,
        build: Build,
        deploy: Deploy,
        bootstrap: Bootstrap,
        criteria: Criteria,
        tests: Tests,
        soak: Soak,
        fix: Fix,
        notify: Notify,
    });
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(
        dead_code,
        reason = "read for its errors; the values come from the merged file"
    )]
    pub struct Module {
        binary: Option<String>,
        #[serde(rename = "crate")]
        crate_dir: Option<String>,
        tests: Option<Vec<String>>,
        project: Option<String>,
        stack: Option<String>,
        licence: Option<String>,
        companions: Option<BTreeMap<String, crate::config::Companion>>,
    }
    shape!(Build {
        command: String,
        target_dir: String,
        path: String,
        release: Release,
        fallback: String,
    });
    shape!(Release {
        repo: String,
        tag: String,
        pattern: String
    });
    shape!(Deploy {
        install_path: String,
        service_prefix: String,
        nodes: Nodes,
        peers_per_node: u16
    });
    shape!(Bootstrap { registry: String, nodes: Vec<String> });
    shape!(Criteria {
        custom: String,
        improvement: Improvement
    });
    shape!(Improvement {
        margin: f64,
        tolerance: f64
    });
    shape!(Tests {
        connectivity: Connectivity,
        throughput: Throughput
    });
    shape!(Throughput {
        pairs: u32,
        streams: Vec<u16>,
        seconds: u64
    });
    shape!(Connectivity {
        sample: u32,
        success_criteria: PerCategory,
        margins: PerCategory,
        budget: u32,
        payload_bytes: u64,
        concurrency: Concurrency,
        nat_cooloff_seconds: u64,
        timeout_seconds: u64,
    });
    shape!(PerCategory {
        direct: f64,
        nat_traversed: f64,
        relay: f64
    });
    shape!(Concurrency {
        total: usize,
        per_node: usize
    });
    shape!(Soak {
        wait_1hr: Wait,
        wait_6hr: Wait,
        regression_tolerance: f64,
        probe_seconds: u64,
    });
    shape!(Fix {
        command: String,
        agent: FixAgent,
        test_command: String,
        max_attempts: u32,
        max_changed_lines: u64,
        protected: Vec<String>,
        timeout: Wait,
        wait: Wait,
    });
    shape!(Notify { hook: String, webhook: String, on: Vec<NoticeKind> });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request's "Main Config", unchanged.
    const SAMPLE: &str = include_str!("sample.yaml");

    #[test]
    fn what_a_step_counts_for_has_to_be_declared() {
        let text = "suites:
  s:
    does: x
    steps: [{ step: a, wire: { measure: bytes_each, per: came } }]
    measures:
      came: { kind: samples, better: lower, how: x, blind: x }
";
        let problems = format!("{:?}", read("config.yaml", text).unwrap_err());
        assert!(
            problems.contains("`bytes_each` is no measure"),
            "{problems}"
        );
        assert!(
            problems.contains("`came` is no measure of it that is a rate"),
            "{problems}"
        );
    }

    #[test]
    fn the_requests_sample_reads_unchanged() {
        let config = read("config.yaml", SAMPLE).unwrap().config;
        assert_eq!(config.workspace, "~/Desktop/Devel/projects/saorsa-testnet");
        assert_eq!(
            config.module_of("ant-quic").unwrap().1.binary,
            "saorsa-quic-test"
        );
        assert_eq!(config.tests.connectivity.success_criteria.direct, 99.0);
        assert_eq!(config.tests.connectivity.margins.nat_traversed, 10.0);
        assert_eq!(config.soak_durations().len(), 2);
    }

    #[test]
    fn the_defaults_are_whole() {
        assert_eq!(
            ConfigFile::defaults().unwrap().config.deploy.service_prefix,
            "saorsa-test"
        );
    }

    #[test]
    fn a_stranger_among_the_bootstraps_is_shown_where_it_stands() {
        let fleet =
            crate::inventory::read("f", include_str!("../../../../fleets/saorsa.yaml")).unwrap();
        let text = "bootstrap:\n  nodes:\n    - saorsa-22.saorsalabs.com:9000\n";
        let problems = read("c.yaml", text)
            .unwrap()
            .check_against(&fleet)
            .unwrap_err();
        assert_eq!(problems.all[0].line(), 3);
        assert_eq!(
            problems.all[0].message,
            "`saorsa-22.saorsalabs.com` is not in the inventory"
        );
        assert_eq!(
            problems.all[0].help(),
            "did you mean `saorsa-2.saorsalabs.com`?"
        );
    }

    #[test]
    fn unknown_keys_and_bad_values_name_their_line() {
        let wrong = [
            ("build:\n  comand: make\n", 2, "did you mean `command`?"),
            (
                "tests:\n  connectivity:\n    success_criteria:\n      direct: 101\n",
                4,
                "give a number from 0 to 100",
            ),
            (
                "soak:\n  wait_1hr: soon\n",
                2,
                "write true, false, 20s, 5m or 1h",
            ),
        ];
        for (text, line, help) in wrong {
            let problems = read("c.yaml", text).unwrap_err();
            assert_eq!(
                (problems.all[0].line(), problems.all[0].help()),
                (line, help),
                "{}",
                problems.all[0].message
            );
        }
    }
}
