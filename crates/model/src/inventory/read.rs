//! An inventory file, read and checked.

mod nat;
mod node;

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Fleet, LinkOverride, NodeName, Place, Wan};
use crate::nat::NatSpec;
use crate::problem::{Problem, Problems, Source, did_you_mean, none_or};

/// More hosts than one machine or one person can look after.
const MOST_NODES: usize = 1000;

/// What the twin's internet can be set to.
const MAX_DELAY_MS: f64 = 60_000.0;
const MIN_MBIT: f64 = 0.001;
const MAX_MBIT: f64 = 1e6;

/// Reads the text of an inventory; `file` is for messages.
///
/// # Errors
/// Everything that is wrong with it, each with its line and a remedy.
pub fn read(file: &str, text: &str) -> Result<Fleet, Problems> {
    let source = Source::new(file, text);
    let raw: RawFleet = source.parse()?;
    let mut reader = Reader {
        source: &source,
        problems: Vec::new(),
    };
    let fleet = reader.fleet(raw);
    none_or(reader.problems)?;
    Ok(fleet)
}

/// Reads a NAT on its own: `symmetric`, `ADM/EIF`, or what an inventory's `nat`
/// holds, as in `{ type: symmetric, hairpin: true }`.
///
/// # Errors
/// As [`read`].
pub fn read_nat(text: &str) -> Result<NatSpec, Problems> {
    let word = text.trim();
    let whole = match (word.starts_with('{'), word.contains('/')) {
        (true, _) => word.to_owned(),
        (false, true) => format!("{{ behaviour: {word} }}"),
        (false, false) => format!("{{ type: {word} }}"),
    };
    let source = Source::new("NAT", &format!("nat: {whole}\n"));
    let raw: RawNatAlone = source.parse()?;
    let mut reader = Reader {
        source: &source,
        problems: Vec::new(),
    };
    let spec = reader.spec(&raw.nat);
    none_or(reader.problems)?;
    Ok(spec)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNatAlone {
    nat: Spanned<RawNat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFleet {
    fleet: String,
    #[serde(default)]
    regions: BTreeMap<String, RawPlace>,
    #[serde(default)]
    wan: RawWan,
    #[serde(default)]
    defaults: RawDefaults,
    nodes: Vec<RawNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlace {
    latitude: f64,
    longitude: f64,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawWan {
    #[serde(default)]
    seed: u64,
    constant_ms: Option<Spanned<f64>>,
    #[serde(default)]
    links: Vec<RawLink>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLink {
    from: Spanned<String>,
    to: Spanned<String>,
    delay_ms: Option<Spanned<f64>>,
    jitter_ms: Option<Spanned<f64>>,
    loss_percent: Option<Spanned<f64>>,
    rate_mbit: Option<Spanned<f64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawDefaults {
    ssh: Option<RawSsh>,
    #[serde(default)]
    ports: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct RawSsh {
    user: Option<String>,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<String>,
    hostname: Option<Spanned<String>>,
    addresses: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    provider: String,
    #[serde(default = "nowhere")]
    region: Spanned<String>,
    role: Spanned<String>,
    nat: Option<Spanned<RawNat>>,
    peers: Option<Spanned<u16>>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    ports: BTreeMap<String, Spanned<String>>,
    ssh: Option<RawSsh>,
    note: Option<String>,
}

fn nowhere() -> Spanned<String> {
    Spanned::new(
        String::new(),
        serde_saphyr::Location::UNKNOWN,
        serde_saphyr::Location::UNKNOWN,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNat {
    #[serde(rename = "type")]
    kind: Option<Spanned<String>>,
    behaviour: Option<Spanned<String>>,
    port_preservation: Option<Spanned<bool>>,
    port_block: Option<Spanned<u32>>,
    hairpin: Option<Spanned<bool>>,
    udp_timeout: Option<Spanned<String>>,
    udp: Option<Spanned<String>>,
    inbound: Option<Spanned<String>>,
    cgnat: Option<Spanned<RawCgnat>>,
    emulation: Option<Spanned<String>>,
    #[serde(default)]
    emulated_by: Vec<String>,
    difficulty: Option<String>,
    expected_success: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCgnat {
    #[serde(rename = "type")]
    kind: Option<Spanned<String>>,
    behaviour: Option<Spanned<String>>,
    port_block: Option<Spanned<u32>>,
    hairpin: Option<Spanned<bool>>,
    udp_timeout: Option<Spanned<String>>,
}

struct Reader<'a> {
    source: &'a Source,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn fleet(&mut self, raw: RawFleet) -> Fleet {
        let defaults = raw.defaults;
        let places: Vec<String> = raw.regions.keys().cloned().collect();
        self.count(raw.nodes.len());
        self.duplicates(&raw.nodes);
        self.prober(&raw.nodes);
        let names: Vec<String> = raw.nodes.iter().map(|n| n.name.value.clone()).collect();
        let nodes = raw
            .nodes
            .into_iter()
            .map(|n| self.node(n, &defaults, &places))
            .collect();
        let links = raw
            .wan
            .links
            .into_iter()
            .map(|l| self.link(l, &names))
            .collect();
        let regions = raw.regions.into_iter().map(|(name, p)| {
            (
                name,
                Place {
                    latitude: p.latitude,
                    longitude: p.longitude,
                },
            )
        });
        let constant_ms = raw.wan.constant_ms.map_or(0.0, |number| {
            self.milliseconds(&number);
            number.value
        });
        Fleet {
            name: raw.fleet,
            nodes,
            regions: regions.collect(),
            wan: Wan {
                seed: raw.wan.seed,
                constant_ms,
                links,
            },
        }
    }

    fn count(&mut self, nodes: usize) {
        if nodes == 0 {
            self.problems.push(self.source.problem_with(
                "nodes",
                "the fleet has no nodes",
                "list at least one under `nodes`",
            ));
        } else if nodes > MOST_NODES {
            let message =
                format!("the fleet has {nodes} nodes, {MOST_NODES} at most can be looked after");
            self.problems.push(self.source.problem_with(
                "nodes",
                message,
                "split it into several files",
            ));
        }
    }

    fn duplicates(&mut self, nodes: &[RawNode]) {
        let mut seen: HashMap<String, String> = HashMap::new();
        for node in nodes {
            let hostname = node.hostname.iter();
            let own = std::iter::once(&node.name)
                .chain(hostname)
                .chain(&node.addresses.value);
            for word in own {
                let same_node = seen.get(&word.value).is_some_and(|owner| {
                    *owner == node.name.value && word.value != node.name.value
                });
                if let Some(owner) = seen.insert(word.value.clone(), node.name.value.clone())
                    && !same_node
                {
                    self.wrong(
                        word,
                        format!("`{}` is listed twice, first for {owner}", word.value),
                        "every name, hostname and address belongs to one node",
                    );
                }
            }
        }
    }

    /// A NAT is measured before it is believed, and that takes a public node.
    fn prober(&mut self, nodes: &[RawNode]) {
        let has_public = nodes
            .iter()
            .any(|n| n.nat.is_none() && n.role.value != "registry");
        if let Some(natted) = nodes
            .iter()
            .find(|n| n.nat.is_some())
            .filter(|_| !has_public)
        {
            self.wrong(
                &natted.name,
                format!(
                    "{} is behind a NAT and no tested node is public, so nothing can probe it",
                    natted.name.value
                ),
                "add a `role: test` or `role: bootstrap` node without `nat`",
            );
        }
    }

    fn link(&mut self, raw: RawLink, names: &[String]) -> LinkOverride {
        for end in [&raw.from, &raw.to] {
            if !names.contains(&end.value) {
                let near = did_you_mean(&end.value, names.iter().map(String::as_str));
                let help = near.map_or("name a node of this file".into(), |n| {
                    format!("did you mean `{n}`?")
                });
                self.wrong(end, format!("no node is called `{}`", end.value), &help);
            }
        }
        for number in [&raw.delay_ms, &raw.jitter_ms].into_iter().flatten() {
            self.milliseconds(number);
        }
        if let Some(rate) = raw
            .rate_mbit
            .as_ref()
            .filter(|r| !(MIN_MBIT..=MAX_MBIT).contains(&r.value))
        {
            self.wrong(
                rate,
                format!("{} is not a rate that the twin can keep", rate.value),
                &format!("give {MIN_MBIT} to {MAX_MBIT} Mbit/s, or leave it out for no limit"),
            );
        }
        if let Some(loss) = raw
            .loss_percent
            .as_ref()
            .filter(|l| !(0.0..=100.0).contains(&l.value))
        {
            self.wrong(
                loss,
                format!("{} is not a percentage", loss.value),
                "give a number from 0 to 100",
            );
        }
        let value = |number: &Option<Spanned<f64>>| number.as_ref().map(|n| n.value);
        LinkOverride {
            delay_ms: value(&raw.delay_ms),
            jitter_ms: value(&raw.jitter_ms),
            loss_percent: value(&raw.loss_percent),
            rate_mbit: value(&raw.rate_mbit),
            from: NodeName::new(raw.from.value),
            to: NodeName::new(raw.to.value),
        }
    }

    fn milliseconds(&mut self, number: &Spanned<f64>) {
        if !(0.0..=MAX_DELAY_MS).contains(&number.value) {
            self.wrong(
                number,
                format!("{} ms is not a delay that the twin can make", number.value),
                &format!("give a number from 0 to {MAX_DELAY_MS}"),
            );
        }
    }

    fn choice<T: Copy>(
        &mut self,
        given: &Spanned<String>,
        what: &str,
        known: &[(&str, T)],
    ) -> Option<T> {
        let found = known
            .iter()
            .find(|(word, _)| *word == given.value)
            .map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            let help = match did_you_mean(&given.value, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it is one of {}", words.join(", ")),
            };
            self.wrong(given, format!("`{}` is not a {what}", given.value), &help);
        }
        found
    }

    fn wrong<T>(&mut self, at: &Spanned<T>, message: String, help: &str) {
        let span = at.referenced.span();
        let offset = usize::try_from(span.byte_offset().unwrap_or(0)).unwrap_or(0);
        let length = usize::try_from(span.byte_len().unwrap_or(0)).unwrap_or(0);
        self.problems
            .push(self.source.problem(offset, length, message, help));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Port, Transport};

    const SAORSA: &str = include_str!("../../../../fleets/saorsa.yaml");

    fn errors(text: &str) -> Vec<(usize, String, String)> {
        let problems = read("fleet.yaml", text).unwrap_err();
        problems
            .all
            .iter()
            .map(|p| (p.line(), p.message.clone(), p.help().to_owned()))
            .collect()
    }

    #[test]
    fn the_requests_fleet_has_its_ten_nodes() {
        let fleet = read("fleets/saorsa.yaml", SAORSA).unwrap();
        assert_eq!(fleet.nodes.len(), 10);
        assert_eq!(fleet.tested().count(), 9);
        assert_eq!(fleet.tested().filter(|n| n.nat.is_some()).count(), 4);
        assert_eq!(
            fleet.nodes[0].ports["ant-quic-test"],
            Port {
                number: 9000,
                transport: Transport::Udp
            }
        );
    }

    #[test]
    fn every_pair_of_behaviours_has_two_nodes() {
        let text = include_str!("../../../../examples/behaviours.yaml");
        let fleet = read("examples/behaviours.yaml", text).unwrap();
        let nats = fleet.tested().filter_map(|node| node.nat.as_ref());
        let mut nodes = BTreeMap::new();
        for nat in nats {
            *nodes.entry(nat.spec.behaviour.to_string()).or_insert(0) += 1;
        }
        assert_eq!(nodes.len(), 9);
        assert!(nodes.values().all(|nodes| *nodes == 2), "{nodes:?}");
    }

    #[test]
    fn latency_follows_geography() {
        let fleet = read("fleets/saorsa.yaml", SAORSA).unwrap();
        let delay = |a: usize, b: usize| fleet.link(&fleet.nodes[a], &fleet.nodes[b]).delay_ms;
        assert!(
            (delay(0, 5) - 1.0).abs() < 1e-9,
            "same city: the constant alone"
        );
        assert!(
            (45.0..65.0).contains(&delay(4, 7)),
            "London to Singapore: {}",
            delay(4, 7)
        );
    }

    #[test]
    fn an_unknown_key_is_shown_with_its_line() {
        let text = "fleet: f\nnodes:\n  - name: a\n    adresses: [127.0.0.1]\n    role: test\n";
        let (line, message, help) = errors(text).remove(0);
        assert_eq!(line, 4, "{message}");
        assert_eq!(help, "did you mean `addresses`?", "{message}");
    }

    #[test]
    fn several_contradictions_are_told_at_once() {
        let text = "fleet: f\nnodes:\n  - name: a\n    addresses: [1.2.3.4]\n    role: nat\n    nat: { type: fullcone }\n  - name: a\n    addresses: [nowhere]\n    role: natt\n    nat: { type: symmetric }\n";
        let found = errors(text);
        let messages: Vec<_> = found
            .iter()
            .map(|(line, message, _)| format!("{line}: {message}"))
            .collect();
        assert_eq!(
            messages,
            [
                "7: `a` is listed twice, first for a",
                "3: a is behind a NAT and no tested node is public, so nothing can probe it",
                "6: `fullcone` is not a NAT type",
                "9: `natt` is not a role",
                "8: `nowhere` is not an IP address",
            ]
        );
        assert_eq!(found[2].2, "did you mean `full-cone`?");
    }

    #[test]
    fn a_thousand_nodes_read_and_one_more_does_not() {
        let fleet = |n: usize| {
            let nodes: String = (0..n)
                .map(|i| {
                    format!(
                        "  - {{ name: n{i}, addresses: [10.{}.{}.1], role: test }}\n",
                        i / 250,
                        i % 250
                    )
                })
                .collect();
            format!("fleet: f\nnodes:\n{nodes}")
        };
        assert_eq!(read("f", &fleet(1000)).unwrap().nodes.len(), 1000);
        assert!(errors(&fleet(1001))[0].1.contains("1000 at most"));
        assert!(errors("fleet: f\nnodes: []\n")[0].1.contains("no nodes"));
    }
}
