//! A suite whose steps the testers perform: the engine says who, when and with
//! whom, and takes down what they answer. What a step does it does not know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use model::family::Family;
use model::inventory::NodeName;
use model::measure::{Kind, Trial, Values};
use model::protocol::{AttemptId, Call, Fellow, Perform, Performed};
use model::suite::{Act, At, STEPS_DONE, Step, Suite, Wire};

use crate::agent::AgentError;
use crate::deployment;
use crate::observer::ObserverError;
use crate::recorder::RecordError;
use crate::steps::StepError;
use crate::suite::act;
use crate::suite::context::{Context, Taking, Value};

/// The last step of every round, also of one that failed.
const END: &str = "end";
const END_LIMIT: Duration = Duration::from_secs(10);

pub async fn perform(
    context: &Context<'_>,
    suite: &Suite,
    steps: &[Step],
) -> Result<(), StepError> {
    context.check_capability(suite)?;
    for round in context.first_round(suite).. {
        context.doing(&format!("{}: round {}", suite.name, round + 1));
        let family = context.plan.families.first().copied().unwrap_or_default();
        let nodes = context.usable_nodes(family);
        let Some(mut session) = Session::open(context, suite, round, nodes).await? else {
            return Ok(());
        };
        let performed = session.all(steps).await;
        // Also where a step could not be: nobody stays cut off.
        session.end().await;
        performed?;
        if !context.wants_another_round(suite) {
            return Ok(());
        }
    }
    Ok(())
}

/// One round: every tester with an endpoint of its own, and what each has said.
struct Session<'a> {
    context: &'a Context<'a>,
    suite: &'a Suite,
    round: u32,
    taking: Taking<'a>,
    id: AttemptId,
    nodes: Vec<NodeName>,
    binds: HashMap<NodeName, SocketAddr>,
    said: BTreeMap<NodeName, serde_json::Value>,
    cut_off: Vec<NodeName>,
    absent: BTreeSet<NodeName>,
    /// Successes so far, by measure.
    successes: HashMap<String, u32>,
}

impl<'a> Session<'a> {
    /// `None` where no node is left.
    async fn open(
        context: &'a Context<'a>,
        suite: &'a Suite,
        round: u32,
        nodes: Vec<NodeName>,
    ) -> Result<Option<Self>, RecordError> {
        if nodes.is_empty() {
            return Ok(None);
        }
        let mut binds = HashMap::new();
        for node in &nodes {
            let bind = match context.testers.first_of(node) {
                Some(tester) => tester.fresh_bind().await,
                None => None,
            };
            binds.extend(bind.map(|bind| (node.clone(), bind)));
        }
        let taking = context.taking(suite, round);
        Ok(Some(Self {
            context,
            suite,
            round,
            id: AttemptId(taking.id()),
            taking,
            nodes,
            binds,
            said: BTreeMap::new(),
            cut_off: Vec::new(),
            absent: BTreeSet::new(),
            successes: HashMap::new(),
        }))
    }

    async fn all(&mut self, steps: &[Step]) -> Result<(), StepError> {
        let mut carried = Vec::new();
        for step in steps {
            let before = self.udp_sent(step).await;
            self.step(step).await?;
            if let (Some(wire), Some(before)) = (&step.wire, before) {
                carried.push((wire, before, self.udp_sent(step).await));
            }
        }
        // What they are shared out among may be reported by a later step.
        for (wire, before, after) in carried {
            self.share_out(wire, before, after)?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), StepError> {
        let nodes = step.at.of(&self.nodes, self.round);
        match (step.act, step.at) {
            (Some(act), _) => self.act(act, step, &nodes).await?,
            (None, At::Turns) => {
                for node in nodes {
                    self.together(step, &[node]).await?;
                }
            }
            (None, _) => self.together(step, &nodes).await?,
        }
        Ok(())
    }

    async fn act(&mut self, act: Act, step: &Step, nodes: &[NodeName]) -> Result<(), StepError> {
        match act {
            Act::CutOff => {
                // Also where only some of them could be: they are joined again at the end.
                self.cut_off = nodes.to_vec();
                act::cut_off(self.context, nodes).await?;
            }
            Act::Rejoin => {
                act::rejoin(self.context, &self.cut_off).await?;
                self.cut_off.clear();
            }
            Act::Crash | Act::Restart => {
                for (node, came_back) in act::end_testers(self.context, act, nodes).await? {
                    self.absent.insert(node.clone());
                    self.said.remove(&node);
                    self.take_down(step, &node, came_back.map(|()| Performed::default()))?;
                }
            }
        }
        Ok(())
    }

    async fn udp_sent(&self, step: &Step) -> Option<Result<u64, ObserverError>> {
        step.wire.as_ref()?;
        let counts = self.context.settings.observers.first.as_ref()?;
        Some(counts.udp_sent(&self.nodes).await)
    }

    fn share_out(
        &self,
        wire: &Wire,
        before: Result<u64, ObserverError>,
        after: Option<Result<u64, ObserverError>>,
    ) -> Result<(), RecordError> {
        let sent = before.and_then(|before| Ok(after.transpose()?.map(|after| (before, after))));
        let among = self.successes.get(&wire.per).copied().unwrap_or(0);
        match sent {
            Err(error) => self.context.find(format!("`{}`: {error}", wire.measure)),
            Ok(Some((before, after))) if after < before => self.context.find(format!(
                "`{}`: {after} bytes had been sent after a step, and {before} before it: \
                 somebody began to count anew",
                wire.measure
            )),
            Ok(Some((before, after))) if among > 0 => {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
                let each = (after - before) as f64 / f64::from(among);
                self.record(
                    None,
                    &wire.measure,
                    BTreeMap::new(),
                    Values::Samples(vec![each]),
                    None,
                )
            }
            // Nothing came, so there is nothing to share it out among.
            Ok(_) => Ok(()),
        }
    }

    async fn together(&mut self, step: &Step, nodes: &[NodeName]) -> Result<(), RecordError> {
        let limit = Duration::from_secs(step.timeout_seconds);
        let session = &*self;
        let calls = nodes.iter().map(|node| async move {
            let call = session.call(node, &step.step, step.params.clone(), limit);
            (node, session.ask(node, call, limit).await)
        });
        for (node, answer) in join_all(calls).await {
            self.take_down(step, node, answer)?;
        }
        Ok(())
    }

    async fn end(&self) {
        let calls = self.nodes.iter().map(|node| {
            let call = self.call(node, END, serde_json::Value::Null, END_LIMIT);
            self.ask(node, call, END_LIMIT)
        });
        // A tester that cannot end its round says so in the next one, and a cut that
        // cannot be ended ends by itself.
        join_all(calls).await;
        let _ = act::rejoin(self.context, &self.cut_off).await;
    }

    fn call(
        &self,
        node: &NodeName,
        step: &str,
        params: serde_json::Value,
        limit: Duration,
    ) -> Perform {
        let others = self.said.iter().filter(|(other, _)| *other != node);
        let bind = self.binds.get(node).copied();
        let coordinators = &self.context.testers.stack_coordinators;
        Perform {
            session: self.id.clone(),
            suite: self.suite.name.to_string(),
            step: step.to_owned(),
            node: node.to_string(),
            cut_off: self.cut_off.iter().map(ToString::to_string).collect(),
            absent: self.absent.iter().map(ToString::to_string).collect(),
            bind,
            coordinators: bind.map_or_else(Vec::new, |bind| {
                deployment::in_family(coordinators, Family::of(bind.ip()))
            }),
            fellows: others
                .map(|(node, said)| Fellow {
                    node: node.to_string(),
                    said: said.clone(),
                })
                .collect(),
            params,
            timeout_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        }
    }

    async fn ask(
        &self,
        node: &NodeName,
        call: Perform,
        limit: Duration,
    ) -> Result<Performed, AgentError> {
        let tester = self.context.testers.first_of(node);
        let tester = tester.ok_or_else(|| AgentError::Gone {
            node: node.clone(),
            method: "perform",
        })?;
        tester.agent().await?.call(Call::Perform(call), limit).await
    }

    /// A step that fails is a failed trial of `steps_done`, whatever it measured
    /// before; what it measures counts only once it is done.
    fn take_down(
        &mut self,
        step: &Step,
        node: &NodeName,
        answer: Result<Performed, AgentError>,
    ) -> Result<(), RecordError> {
        let (trial, detail) = match &answer {
            Ok(_) => (Trial::Success, None),
            Err(AgentError::Failed { failure, .. }) if failure.reason.is_infrastructure() => {
                (Trial::Infrastructure, Some(failure.to_string()))
            }
            Err(error) => (Trial::Failure, Some(crate::error_chain(error))),
        };
        self.record(
            Some(node),
            STEPS_DONE,
            BTreeMap::from([("step".to_owned(), step.step.clone())]),
            Values::Outcomes(vec![trial]),
            detail,
        )?;
        let Ok(performed) = answer else {
            return Ok(());
        };
        if !performed.said.is_null() {
            self.said.insert(node.clone(), performed.said);
        }
        for taken in performed.measures {
            match self.fault(&taken.name, &taken.values) {
                None => {
                    self.count(&taken.name, &taken.values);
                    self.record(
                        Some(node),
                        &taken.name,
                        taken.conditions,
                        taken.values,
                        taken.detail,
                    )?;
                }
                Some(fault) => self
                    .context
                    .find(format!("{node}: {}: {fault}", step.step))?,
            }
        }
        Ok(())
    }

    fn count(&mut self, measure: &str, values: &Values) {
        if let Values::Outcomes(trials) = values {
            let successes = trials.iter().filter(|trial| **trial == Trial::Success);
            let successes = u32::try_from(successes.count()).unwrap_or(u32::MAX);
            *self.successes.entry(measure.to_owned()).or_default() += successes;
        }
    }

    /// What is wrong with values that a tester reports, if anything.
    fn fault(&self, name: &str, values: &Values) -> Option<String> {
        let Some(def) = self.suite.measures.iter().find(|m| m.name == name) else {
            return Some(format!(
                "the measure `{name}` is not declared for the suite `{}` and was left out",
                self.suite.name
            ));
        };
        match (def.kind, values) {
            (Kind::Samples, Values::Samples(numbers)) if numbers.iter().all(|n| n.is_finite()) => {
                None
            }
            (Kind::Rate, Values::Outcomes(_)) => None,
            _ => Some(format!(
                "the values of `{name}` are not what it is declared as, {:?}, and were left out",
                def.kind
            )),
        }
    }

    fn record(
        &self,
        node: Option<&NodeName>,
        measure: &str,
        conditions: BTreeMap<String, String>,
        values: Values,
        detail: Option<String>,
    ) -> Result<(), RecordError> {
        let value = Value {
            measure,
            conditions,
            values,
            detail,
        };
        self.taking.at(node, value)
    }
}
