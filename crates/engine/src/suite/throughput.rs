//! The suite `throughput`: pairs of nodes one after the other, each connected directly
//! and over a relay, and loaded both ways, beside what plain TCP and UDP reach
//! between the same two.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::attempt::{Cell, ObservedPath, Outcome, Pair};
use model::inventory::PeerId;
use model::link::RoundTrip;
use model::load::{Load, gigabits, latency_class};
use model::measure::{Trial, Values};
use model::nat::theory::Prediction;
use model::protocol::{AttemptId, Rung};
use model::suite::Suite;

use crate::agent::AgentError;
use crate::attempt::Terms;
use crate::attempt::load::{Direction, Loaded, Loading, Order, Transfer};
use crate::recorder::RecordError;
use crate::steps::StepError;
use crate::suite::context::{Context, Taking, Value};
use crate::suite::nat_traversal::no_relays;
use crate::tester::Tester;

/// For what a relay has queued.
const PATIENCE: Duration = Duration::from_secs(15);
const WAYS: [Direction; 2] = [Direction::Up, Direction::Down];

type Conditions = BTreeMap<String, String>;

pub async fn perform(context: &Context<'_>, suite: &Suite, amount: &Load) -> Result<(), StepError> {
    context.check_capability(suite)?;
    for round in context.first_round(suite).. {
        let run = Round {
            context,
            amount,
            taking: context.taking(suite, round),
        };
        let mut without = Vec::new();
        for cell in run.cells() {
            if context.is_usable(&cell)
                && let Some(error) = run.pair(&cell).await?
            {
                without.push((cell.pair, error));
            }
        }
        no_relays(context, &without)?;
        if !context.wants_another_round(suite) {
            return Ok(());
        }
    }
    Ok(())
}

struct Round<'a> {
    context: &'a Context<'a>,
    amount: &'a Load,
    taking: Taking<'a>,
}

/// Megabits a second of plain TCP and UDP, the better of the two.
type Ceiling = HashMap<Direction, f64>;

impl Round<'_> {
    /// The same in every round and every run of a plan.
    fn cells(&self) -> Vec<Cell> {
        let seed = self.context.settings.fleet.wan.seed;
        let class = |pair: &Pair| self.round_trip_ms(pair).map(latency_class);
        let mut cells =
            model::cells::loaded(self.context.plan, self.amount.pairs as usize, seed, class);
        let testers = &self.context.testers.stack;
        cells.retain(|cell| {
            let ends = [cell.pair.caller(), cell.pair.callee()];
            ends.iter().all(|peer| testers.contains_key(peer))
        });
        cells
    }

    /// Why there was no relay, where it may do without one.
    async fn pair(&self, cell: &Cell) -> Result<Option<AgentError>, RecordError> {
        let mut ceiling = Ceiling::new();
        if cell.predicted != Prediction::Never {
            self.doing(cell, "plain TCP and UDP");
            ceiling = self.plain(cell).await?;
            self.doing(cell, "direct");
            self.stack(cell, &Rung::DIRECT, ObservedPath::Direct, &ceiling)
                .await?;
        }
        if !self.has_relays(&cell.pair) || !self.context.is_usable(cell) {
            return Ok(None);
        }
        self.doing(cell, "relayed");
        self.stack(cell, &Rung::RELAYED, ObservedPath::Relayed, &ceiling)
            .await
    }

    async fn stack(
        &self,
        cell: &Cell,
        rungs: &[Rung],
        path: ObservedPath,
        ceiling: &Ceiling,
    ) -> Result<Option<AgentError>, RecordError> {
        let terms = self.context.terms(&self.context.testers.stack_coordinators);
        let orders: Vec<Order> = self
            .amount
            .streams
            .iter()
            .flat_map(|streams| WAYS.map(|direction| self.order(direction, *streams, false)))
            .collect();
        let testers = &self.context.testers.stack;
        let loaded = self
            .load(cell, testers, &terms, rungs, &orders, &path.to_string())
            .await;
        let conditions = self.conditions(&cell.pair, &path.to_string());
        match loaded {
            Err(error)
                if path == ObservedPath::Relayed
                    && cell.predicted != Prediction::Never
                    && error.is_no_address() =>
            {
                return Ok(Some(error));
            }
            Err(error) => self.not_carried(cell, conditions, &error).await?,
            Ok(loaded) => match &loaded.outcome {
                Outcome::StackFailure(failure) => {
                    let detail = Some(failure.to_string());
                    self.carried(cell, conditions, Trial::Failure, detail)
                        .await?;
                }
                Outcome::Infrastructure { detail } => {
                    let detail = Some(detail.clone());
                    self.carried(cell, conditions, Trial::Infrastructure, detail)
                        .await?;
                }
                Outcome::Success => {
                    self.take_down(cell, conditions, path, &loaded, ceiling)
                        .await?;
                }
            },
        }
        Ok(None)
    }

    async fn take_down(
        &self,
        cell: &Cell,
        conditions: Conditions,
        path: ObservedPath,
        loaded: &Loaded,
        ceiling: &Ceiling,
    ) -> Result<(), RecordError> {
        let went = loaded.observed.path;
        let elsewhere = (went != path && went != ObservedPath::Unmeasured)
            .then(|| format!("asked for {path}, and the packets went: {went}"));
        if went == ObservedPath::Unmeasured {
            self.context.find(format!(
                "{}: nobody counted whether transfers went {path}; the tester was asked for that path alone",
                cell.pair
            ))?;
        }
        for transfer in &loaded.transfers {
            let mut conditions = conditions.clone();
            match transfer {
                Err(error) => self.not_carried(cell, conditions, error).await?,
                Ok(transfer) => {
                    let order = transfer.order;
                    conditions.insert("direction".into(), order.direction.to_string());
                    conditions.insert("streams".into(), order.streams.to_string());
                    let fault = elsewhere.clone().or_else(|| fault(transfer));
                    let trial = match fault {
                        None => Trial::Success,
                        Some(_) => Trial::Failure,
                    };
                    self.carried(cell, conditions.clone(), trial, fault).await?;
                    if trial == Trial::Success {
                        let ceiling = ceiling
                            .get(&order.direction)
                            .filter(|_| path == ObservedPath::Direct);
                        self.quantities(cell, &conditions, transfer, ceiling)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn quantities(
        &self,
        cell: &Cell,
        conditions: &Conditions,
        transfer: &Transfer,
        ceiling: Option<&f64>,
    ) -> Result<(), RecordError> {
        let goodput = transfer.arrived.megabits_per_second();
        self.sample(cell, "goodput_mbit", conditions, goodput)?;
        if let Some(ceiling) = ceiling {
            self.sample(cell, "of_ceiling", conditions, 100.0 * goodput / ceiling)?;
        }
        if let Some(packets) = transfer.sent.packets {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 packets")]
            let lost = 100.0 * packets.lost as f64 / packets.sent.max(1) as f64;
            self.sample(cell, "lost_packets", conditions, lost)?;
        }
        let ends = [
            ("sender", transfer.sent.cpu_ms),
            ("receiver", transfer.arrived.cpu_ms),
        ];
        for (end, cpu_ms) in ends {
            let mut conditions = conditions.clone();
            conditions.insert("end".into(), end.into());
            let per_gigabit = cpu_ms / 1e3 / gigabits(transfer.arrived.bytes());
            self.sample(cell, "cpu_s_per_gbit", &conditions, per_gigabit)?;
        }
        Ok(())
    }

    /// What goes through between the two nodes without the stack.
    async fn plain(&self, cell: &Cell) -> Result<Ceiling, RecordError> {
        let mut best = Ceiling::new();
        let callee = &cell.pair.to;
        let node = self.context.settings.fleet.node(callee);
        // Each on an attempt of its own: what remains of a flood of datagrams goes
        // with its socket.
        for over_tcp in [true, false] {
            if over_tcp && !node.is_some_and(model::inventory::Node::is_public) {
                continue;
            }
            let orders = WAYS.map(|direction| self.order(direction, 1, over_tcp));
            let testers = &self.context.testers.reference;
            let terms = self
                .context
                .terms(&self.context.testers.reference_coordinators);
            let protocol = if over_tcp { "tcp" } else { "udp" };
            let loaded = self
                .load(cell, testers, &terms, &Rung::DIRECT, &orders, protocol)
                .await;
            let transfers = match loaded {
                Ok(loaded) => loaded.transfers,
                Err(error) => vec![Err(error)],
            };
            for transfer in transfers {
                match transfer {
                    Ok(transfer) => {
                        let mbit = transfer.arrived.megabits_per_second();
                        let direction = transfer.order.direction;
                        let mut conditions = self.conditions(&cell.pair, "direct");
                        conditions.insert("protocol".into(), protocol.into());
                        conditions.insert("direction".into(), direction.to_string());
                        self.sample(cell, "ceiling_mbit", &conditions, mbit)?;
                        let known = best.entry(direction).or_default();
                        *known = known.max(mbit);
                    }
                    Err(error) => self.context.find(format!(
                        "{}: no ceiling by plain {protocol}: {}",
                        cell.pair,
                        crate::error_chain(&error)
                    ))?,
                }
            }
        }
        Ok(best)
    }

    async fn load(
        &self,
        cell: &Cell,
        testers: &HashMap<PeerId, Tester>,
        terms: &Terms,
        rungs: &[Rung],
        orders: &[Order],
        what: &str,
    ) -> Result<Loaded, AgentError> {
        // Testers outlive a run that was killed, and remember its attempts.
        let again = rand::random::<u32>();
        let id = format!("{}-{}-{what}-{again:08x}", self.taking.id(), cell.pair);
        let id = AttemptId(id);
        let [caller, callee] = self.context.ends(testers, cell).await?;
        let loading = Loading {
            terms,
            id,
            pair: &cell.pair,
            caller,
            callee,
            rungs,
            orders,
        };
        loading.run(async { Ok(()) }).await
    }

    fn has_relays(&self, pair: &Pair) -> bool {
        let tester = self.context.testers.stack.get(&pair.caller());
        self.context.has_third_hosts(pair)
            && tester.is_some_and(|t| t.hello().rungs.contains(&Rung::Relayed))
    }

    fn order(&self, direction: Direction, streams: u16, over_tcp: bool) -> Order {
        Order {
            direction,
            streams,
            seconds: self.amount.seconds,
            over_tcp,
            patience: PATIENCE,
        }
    }

    fn conditions(&self, pair: &Pair, path: &str) -> Conditions {
        let mut conditions = Conditions::from([("path".into(), path.into())]);
        if let Some(round_trip) = self.round_trip_ms(pair) {
            conditions.insert("rtt_ms".into(), format!("{round_trip:.0}"));
        }
        conditions
    }

    /// As it is set, else as it was measured.
    fn round_trip_ms(&self, pair: &Pair) -> Option<f64> {
        let fleet = &self.context.settings.fleet;
        if self.context.settings.links_are_set {
            let (from, to) = (fleet.node(&pair.from)?, fleet.node(&pair.to)?);
            return Some(RoundTrip::of(fleet.link(from, to), fleet.link(to, from)).delay_ms);
        }
        self.context.recorder.with(|run| {
            let link = run.links.iter().find(|link| {
                let ends = [&link.pair.from, &link.pair.to];
                ends.contains(&&pair.from) && ends.contains(&&pair.to)
            });
            Some(link?.measured?.delay_ms)
        })
    }

    async fn not_carried(
        &self,
        cell: &Cell,
        conditions: Conditions,
        error: &AgentError,
    ) -> Result<(), RecordError> {
        let why = crate::error_chain(error);
        self.carried(cell, conditions, error.as_trial(), Some(why))
            .await
    }

    async fn carried(
        &self,
        cell: &Cell,
        conditions: Conditions,
        trial: Trial,
        detail: Option<String>,
    ) -> Result<(), RecordError> {
        let pair = &cell.pair;
        let (trial, detail) = self.context.blame_lost_host(pair, trial, detail).await?;
        let value = Value {
            measure: "carried",
            conditions,
            values: Values::Outcomes(vec![trial]),
            detail,
        };
        self.taking.between(pair, value)
    }

    fn sample(
        &self,
        cell: &Cell,
        measure: &str,
        conditions: &Conditions,
        value: f64,
    ) -> Result<(), RecordError> {
        let value = Value {
            measure,
            conditions: conditions.clone(),
            values: Values::Samples(vec![value]),
            detail: None,
        };
        self.taking.between(&cell.pair, value)
    }

    fn doing(&self, cell: &Cell, what: &str) {
        self.context
            .doing(&format!("throughput: {}, {what}", cell.pair));
    }
}

/// What is wrong with a transfer, if anything.
fn fault(transfer: &Transfer) -> Option<String> {
    let (order, arrived) = (transfer.order, &transfer.arrived);
    if !transfer.is_whole {
        return Some(format!(
            "{} bytes came on {} of {} streams, and they are not what was sent",
            arrived.bytes(),
            arrived.streams.len(),
            order.streams
        ));
    }
    (!arrived.took_its_time(order.seconds)).then(|| {
        format!(
            "the receiver says that what was sent for {} s came within {:.0} ms",
            order.seconds, arrived.elapsed_ms
        )
    })
}
