//! Before anything is tested: is the network between the hosts what it is set to be?
//!
//! `ping` from host to host, one pair of each class of equal settings, all side
//! by side, and a burst of datagrams where a rate is set.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fleet::Host;
use futures::future::join_all;
use model::attempt::Pair;
use model::event::Event;
use model::inventory::NodeName;
use model::link::{self, LinkMeasured, RoundTrip};

use super::{Stage, StepError};
use crate::observer::Asked;
use crate::recorder::Progress;

/// Round trips of each pair, this far apart.
const PROBES: u64 = 250;
const APART: &str = "0.006";

/// On a fleet, where every pair is a class of its own.
const MOST_PAIRS: usize = 45;

/// More than any probe is under way.
const PATIENCE: Duration = Duration::from_secs(15);

/// Nobody listens: discard.
const BURST_PORT: u16 = 9;
/// Datagrams of a burst, and bytes of each.
const BURST: u32 = 150;
const BURST_BYTES: usize = 1200;

/// A pair to measure, how many are like it, and what it is set to.
type Wanted = (Pair, usize, Option<RoundTrip>);

pub async fn measure(stage: &Stage<'_>) -> Result<(), StepError> {
    let recorder = stage.recorder;
    recorder.progress(&Progress::Doing("measuring the network".into()));
    let wanted = wanted(stage);
    let mut measured = round(stage, &wanted).await;
    // What is off once may be this machine's doing; twice it is the network's.
    let again: Vec<Wanted> = wanted
        .into_iter()
        .zip(&measured)
        .filter(|(_, m)| m.mismatch.is_some())
        .map(|(wanted, _)| wanted)
        .collect();
    for second in round(stage, &again).await {
        if let Some(first) = measured.iter_mut().find(|m| m.pair == second.pair) {
            *first = second;
        }
    }
    let wrong: Vec<String> = measured
        .iter()
        .filter_map(|m| Some(format!("{}: {}", m.pair, m.mismatch.as_ref()?)))
        .collect();
    recorder.record(Event::LinksMeasured { links: measured })?;
    if wrong.is_empty() {
        return Ok(());
    }
    Err(StepError::Infrastructure(format!(
        "the network between hosts is not what it is set to be: {}",
        wrong.join("; ")
    )))
}

fn wanted(stage: &Stage<'_>) -> Vec<Wanted> {
    let nodes: Vec<NodeName> = stage.live.hosts.keys().cloned().collect();
    if stage.settings.links_are_set {
        let classes = link::classes(&stage.settings.fleet, &nodes);
        return classes
            .into_iter()
            .map(|(pair, like_it, set)| (pair, like_it, Some(set)))
            .collect();
    }
    let pairs = nodes
        .iter()
        .enumerate()
        .flat_map(|(i, a)| nodes[i + 1..].iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| {
            let pair = Pair::of_nodes(a.clone(), b.clone());
            (pair, 1, None)
        })
        .take(MOST_PAIRS)
        .collect()
}

/// Every host pings those that it is to ping, at once.
async fn round(stage: &Stage<'_>, wanted: &[Wanted]) -> Vec<LinkMeasured> {
    let mut by_host: BTreeMap<&NodeName, Vec<&Pair>> = BTreeMap::new();
    for (pair, ..) in wanted {
        by_host.entry(&pair.from).or_default().push(pair);
    }
    let pings = by_host.into_iter().filter_map(|(name, pairs)| {
        let host = Arc::clone(stage.live.hosts.get(name)?);
        let targets: Vec<(Pair, IpAddr)> = pairs
            .into_iter()
            .filter_map(|pair| Some((pair.clone(), stage.settings.fleet.node(&pair.to)?.address())))
            .collect();
        Some(async move { ping(&host, targets).await })
    });
    let mut times: BTreeMap<Pair, Vec<f64>> = join_all(pings).await.into_iter().flatten().collect();
    let mut measured = Vec::new();
    for (pair, like_it, set) in wanted {
        let times = times.remove(pair).unwrap_or_default();
        let rate = match set.and_then(|set| set.rate_mbit) {
            Some(_) => rate(stage, pair).await,
            None => None,
        };
        let answered = times.len() as u64;
        let seen = link::summarise(&times, PROBES, rate);
        measured.push(LinkMeasured {
            pair: pair.clone(),
            like_it: *like_it,
            set: *set,
            mismatch: set
                .as_ref()
                .and_then(|set| link::mismatch(set, seen.as_ref(), PROBES, answered)),
            measured: seen,
            probes: PROBES,
            answered,
        });
    }
    measured
}

/// Round-trip times in milliseconds; a host that cannot ping has none.
async fn ping(host: &Host, targets: Vec<(Pair, IpAddr)>) -> Vec<(Pair, Vec<f64>)> {
    let mut script = String::new();
    for (index, (_, address)) in targets.iter().enumerate() {
        script.push_str(&format!(
            "ping -n -c {PROBES} -i {APART} -W 2 {address} 2>/dev/null | sed -n 's/.*time=\\([0-9.]*\\) ms/{index} \\1/p' &\n"
        ));
    }
    script.push_str("wait");
    let text = host
        .script_ok(&script, None, PATIENCE)
        .await
        .unwrap_or_default();
    let lines: Vec<(usize, f64)> = text
        .lines()
        .filter_map(|line| {
            let (index, time) = line.split_once(' ')?;
            Some((index.parse().ok()?, time.parse().ok()?))
        })
        .collect();
    let of = |wanted: usize| {
        lines
            .iter()
            .filter(move |(i, _)| *i == wanted)
            .map(|(_, time)| *time)
    };
    targets
        .into_iter()
        .enumerate()
        .map(|(index, (pair, _))| (pair, of(index).collect()))
        .collect()
}

/// How fast a burst arrives, by whoever counts packets.
async fn rate(stage: &Stage<'_>, pair: &Pair) -> Option<f64> {
    let observer = stage.settings.observers.first.as_ref()?;
    let host = stage.live.hosts.get(&pair.from)?;
    let to = SocketAddr::new(stage.settings.fleet.node(&pair.to)?.address(), BURST_PORT);
    let script = format!(
        "exec bash -c 'exec 3>/dev/udp/{}/{}; printf -v bytes %{BURST_BYTES}s x; \
         for i in $(seq {BURST}); do printf %s \"$bytes\" >&3; done; sleep 0.5'",
        to.ip(),
        to.port()
    );
    let _ = host.script(&script, None, PATIENCE).await;
    let asked = Asked {
        nodes: [pair.from.clone(), pair.to.clone()],
        touching: vec![to],
    };
    let flows = observer.flows(&asked).await.ok()?;
    let newest = flows
        .iter()
        .filter(|f| f.flow.destination == to)
        .filter_map(|f| f.arrived)
        .max_by_key(|arrived| arrived.last)?;
    let seconds = newest.last?.duration_since(newest.first?).as_secs_f64();
    // The first datagram's own time is not in between.
    let share = newest.packets.saturating_sub(1) as f64 / newest.packets.max(1) as f64;
    (seconds > 0.0).then(|| newest.bytes_on_wire() as f64 * share * 8.0 / seconds / 1e6)
}
