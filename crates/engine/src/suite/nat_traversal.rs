//! The suite `nat-traversal`: the matrix of pairs behind NATs, then each behaviour with
//! itself, relays on their own, and what becomes of connections whose mapping goes.

mod same_nat;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use model::attempt::{Cell, ObservedPath, Outcome, Pair};
use model::cells::one_of_each_kind;
use model::family::Family;
use model::inventory::{Node, NodeName};
use model::measure::{Trial, Values};
use model::nat::NatSpec;
use model::nat::theory::Prediction;
use model::protocol::{AttemptId, Rung};
use model::suite::{Suite, THROUGHPUT};

use crate::agent::AgentError;
use crate::attempt::load::{Direction, Loaded, Loading, Order};
use crate::recorder::RecordError;
use crate::steps::StepError;
use crate::suite::connectivity;
use crate::suite::context::{Context, Taking, Value};
use crate::tester::Tester;

/// In which a connection has to be usable again.
const COME_BACK: Duration = Duration::from_secs(10);
/// A NAT that keeps mappings longer is not waited for.
const LONGEST_TIMEOUT_S: u16 = 60;
const BEYOND: Duration = Duration::from_secs(2);

pub async fn perform(context: &Context<'_>, suite: &Suite) -> Result<(), StepError> {
    connectivity::perform(context, suite).await?;
    let round = context.first_round(suite);
    let after = After {
        context,
        suite,
        taking: context.taking(suite, round),
    };
    after.same_nat().await?;
    after.relay_fallback().await?;
    after.survival().await?;
    Ok(())
}

/// What goes on when the matrix is done.
struct After<'a> {
    context: &'a Context<'a>,
    suite: &'a Suite,
    taking: Taking<'a>,
}

/// What happens to a NAT while a connection goes through it.
#[derive(Clone, Copy)]
enum Blow {
    Rebind,
    /// Its mappings have this long to live without a packet.
    Silence(Duration),
}

impl Blow {
    fn measure(self) -> &'static str {
        match self {
            Self::Rebind => "survived_rebind",
            Self::Silence(_) => "survived_expiry",
        }
    }
}

impl After<'_> {
    async fn relay_fallback(&self) -> Result<(), RecordError> {
        let knows_relays = |tester: &Tester| tester.hello().rungs.contains(&Rung::Relayed);
        if !self.context.testers.stack.values().any(knows_relays) {
            return Ok(());
        }
        self.context.doing("nat-traversal: over relays alone");
        let mut without = Vec::new();
        let mut all = self.context.cells(self.suite);
        all.retain(|cell| self.context.has_third_hosts(&cell.pair));
        for cell in one_of_each_kind(self.context.plan, &all) {
            if !self.context.is_usable(&cell) {
                continue;
            }
            let nothing = async { Ok(()) };
            match self.load(&cell, &Rung::RELAYED, &[], nothing).await {
                Err(error) if cell.predicted != Prediction::Never && error.is_no_address() => {
                    without.push((cell.pair, error));
                }
                loaded => {
                    let conditions = BTreeMap::new();
                    let (trial, detail) = relayed(loaded);
                    self.trial(&cell, "relay_fallback", conditions, trial, detail)
                        .await?;
                }
            }
        }
        no_relays(self.context, &without)
    }

    /// NATs side by side, the trials of each one after the other.
    async fn survival(&self) -> Result<(), RecordError> {
        if !self.can_transfer() {
            return self.context.find(format!(
                "whether connections survive was not measured: the tester does not know the steps of `{THROUGHPUT}`"
            ));
        }
        let fleet = &self.context.settings.fleet;
        let usable = self.context.usable_nodes(Family::Ipv4);
        let nats = usable.iter().filter_map(|name| fleet.node(name));
        let nats = nats.filter_map(|node| Some((node, node.nat.as_ref()?.spec)));
        self.context
            .doing("nat-traversal: connections whose mapping goes");
        let all = nats.map(|(node, spec)| self.blows(node, spec));
        join_all(all).await.into_iter().collect()
    }

    fn can_transfer(&self) -> bool {
        let wanted = format!("suite:{THROUGHPUT}");
        let mut testers = self.context.testers.stack.values();
        testers.all(|tester| tester.hello().capabilities.contains(&wanted))
    }

    async fn blows(&self, node: &Node, spec: NatSpec) -> Result<(), RecordError> {
        let expiry = spec
            .shortest_timeout()
            .filter(|seconds| *seconds <= LONGEST_TIMEOUT_S)
            .map(|seconds| Blow::Silence(Duration::from_secs(seconds.into()) + BEYOND));
        for blow in [Some(Blow::Rebind), expiry].into_iter().flatten() {
            for is_caller in [true, false] {
                if let Some(cell) = self.towards_public(&node.name, is_caller) {
                    let end = if is_caller { "caller" } else { "callee" };
                    self.survive(&cell, node, spec, end, blow).await?;
                }
            }
        }
        Ok(())
    }

    /// A cell of this node and a public one, with a path by theory. Firewalls of IPv6
    /// translate nothing that could be rebound.
    fn towards_public(&self, node: &NodeName, is_caller: bool) -> Option<Cell> {
        let fleet = &self.context.settings.fleet;
        let is_public = |name: &NodeName| fleet.node(name).is_some_and(Node::is_public);
        let all = model::cells::between_all(self.context.plan);
        all.into_iter().find(|cell| {
            let (ours, other) = match is_caller {
                true => (&cell.pair.from, &cell.pair.to),
                false => (&cell.pair.to, &cell.pair.from),
            };
            ours == node
                && cell.pair.family == Family::Ipv4
                && is_public(other)
                && cell.predicted == Prediction::Always
                && self.context.is_usable(cell)
        })
    }

    async fn survive(
        &self,
        cell: &Cell,
        node: &Node,
        spec: NatSpec,
        end: &str,
        blow: Blow,
    ) -> Result<(), RecordError> {
        let orders = [Direction::Up, Direction::Down].map(|direction| Order {
            direction,
            streams: 1,
            seconds: 0,
            over_tcp: false,
            patience: COME_BACK,
        });
        let strike = async {
            match blow {
                Blow::Silence(length) => {
                    tokio::time::sleep(length).await;
                    Ok(())
                }
                Blow::Rebind => {
                    let tester = self.context.testers.first_of(&node.name);
                    let host = &tester.ok_or("its tester is gone")?.host;
                    let rebound = host.rebind_nat(&crate::nat::boxed(spec)).await;
                    rebound.map_err(|error| crate::error_chain(&error))
                }
            }
        };
        let loaded = self.load(cell, &Rung::DIRECT, &orders, strike).await;
        let conditions = BTreeMap::from([
            ("nat".into(), spec.effective().to_string()),
            ("end".into(), end.to_owned()),
        ]);
        // What never came about cannot survive, and is the matrix's to judge.
        let (trial, detail) = match loaded {
            Err(error) => (Trial::Infrastructure, Some(crate::error_chain(&error))),
            Ok(loaded) => survived(loaded),
        };
        self.trial(cell, blow.measure(), conditions, trial, detail)
            .await
    }

    async fn load(
        &self,
        cell: &Cell,
        rungs: &[Rung],
        orders: &[Order],
        between: impl Future<Output = Result<(), String>>,
    ) -> Result<Loaded, AgentError> {
        // Testers outlive a run that was killed, and remember its attempts.
        let again = rand::random::<u32>();
        let terms = self.context.terms(&self.context.testers.stack_coordinators);
        let testers = &self.context.testers.stack;
        let [caller, callee] = self.context.ends(testers, cell).await?;
        let loading = Loading {
            terms: &terms,
            id: AttemptId(format!("{}-{}-{again:08x}", self.taking.id(), cell.pair)),
            pair: &cell.pair,
            caller,
            callee,
            rungs,
            orders,
        };
        loading.run(between).await
    }

    async fn trial(
        &self,
        cell: &Cell,
        measure: &str,
        conditions: BTreeMap<String, String>,
        trial: Trial,
        detail: Option<String>,
    ) -> Result<(), RecordError> {
        let pair = &cell.pair;
        let (trial, detail) = self.context.blame_lost_host(pair, trial, detail).await?;
        let value = Value {
            measure: &pair.family.measure(measure),
            conditions,
            values: Values::Outcomes(vec![trial]),
            detail,
        };
        self.taking.between(pair, value)
    }
}

/// Pairs that theory knows another path for, so that a stack may do without a relay.
pub fn no_relays(context: &Context<'_>, pairs: &[(Pair, AgentError)]) -> Result<(), RecordError> {
    let Some((first, error)) = pairs.first() else {
        return Ok(());
    };
    context.find(format!(
        "the stack makes no relay for {} pairs of nodes, which theory knows a direct path for; the first is {first}: {}",
        pairs.len(),
        crate::error_chain(error)
    ))
}

fn relayed(loaded: Result<Loaded, AgentError>) -> (Trial, Option<String>) {
    let loaded = match loaded {
        Err(error) => return (error.as_trial(), Some(crate::error_chain(&error))),
        Ok(loaded) => loaded,
    };
    let path = loaded.observed.path;
    match loaded.outcome {
        Outcome::Infrastructure { detail } => (Trial::Infrastructure, Some(detail)),
        Outcome::StackFailure(failure) => (Trial::Failure, Some(failure.to_string())),
        // Where nobody counts, the rungs that it was asked for have to do.
        Outcome::Success if matches!(path, ObservedPath::Relayed | ObservedPath::Unmeasured) => {
            (Trial::Success, None)
        }
        Outcome::Success => {
            let detail = format!("asked for a relay, and the packets went: {path}");
            (Trial::Failure, Some(detail))
        }
    }
}

fn survived(loaded: Loaded) -> (Trial, Option<String>) {
    match loaded.outcome {
        Outcome::Infrastructure { detail } => return (Trial::Infrastructure, Some(detail)),
        Outcome::StackFailure(failure) => {
            return (Trial::Infrastructure, Some(failure.to_string()));
        }
        Outcome::Success => {}
    }
    for made in loaded.transfers {
        let transfer = match made {
            Err(error) => return (error.as_trial(), Some(crate::error_chain(&error))),
            Ok(transfer) => transfer,
        };
        let (direction, arrived) = (transfer.order.direction, &transfer.arrived);
        if !arrived.has_digests() && arrived.bytes() > 0 {
            let detail = "datagrams came, which have no digest to be judged by";
            return (Trial::Infrastructure, Some(detail.into()));
        }
        if !transfer.is_whole {
            let bytes = arrived.bytes();
            let detail = format!("{direction}: {bytes} bytes came, and they are not what was sent");
            return (Trial::Failure, Some(detail));
        }
    }
    (Trial::Success, None)
}
