//! A NAT behaviour with itself, where the inventory has one node of it: another node's
//! box is made the same for the time, measured, and then the two are tried.

use std::collections::BTreeMap;

use futures::future::join_all;
use model::attempt::{Cell, ObservedPath, Outcome};
use model::event::Event;
use model::family::Family;
use model::inventory::{Node, PeerId};
use model::measure::Trial;
use model::nat::theory::{End, Prediction, category, predict};
use model::nat::{NatSpec, describe};
use model::protocol::{AttemptId, Rung};
use model::suite::SAME_NAT;

use super::After;
use crate::agent::AgentError;
use crate::attempt::load::{Loaded, Loading};
use crate::nat::boxed;
use crate::recorder::RecordError;
use crate::steps::StepError;
use crate::tester::Tester;

const EACH_WAY: usize = 3;

/// A node that is alone with its behaviour, and one that does as it does for the time.
struct Couple<'a> {
    end: End,
    alone: &'a Node,
    stand_in: &'a Node,
    /// What the stand-in's box is by the inventory, and what it becomes.
    own: NatSpec,
    other: NatSpec,
}

/// One behind a box.
#[derive(Clone, Copy)]
struct Boxed<'a> {
    node: &'a Node,
    spec: NatSpec,
}

impl After<'_> {
    /// One behaviour after the other.
    pub async fn same_nat(&self) -> Result<(), StepError> {
        for couple in self.couples() {
            self.context.doing(&format!(
                "nat-traversal: {} with itself, on {} and {}",
                describe(couple.other.behaviour),
                couple.alone.name,
                couple.stand_in.name
            ));
            let tester = self.plain(couple.stand_in)?;
            let failed = |error| StepError::infrastructure(&error);
            let other = boxed(couple.other);
            tester.host.disguise_nat(&other).await.map_err(failed)?;
            let tried = self.try_couple(&couple).await;
            let own = boxed(couple.own);
            tester.host.restore_nat(&own).await.map_err(failed)?;
            self.expect(couple.stand_in, couple.own).await?;
            tried?;
        }
        Ok(())
    }

    fn couples(&self) -> Vec<Couple<'_>> {
        let fleet = &self.context.settings.fleet;
        let usable = self.context.usable_nodes(Family::Ipv4);
        let nodes = usable.iter().filter_map(|name| fleet.node(name));
        let boxes = nodes.filter_map(|node| {
            let spec = node.nat.as_ref()?.spec;
            let is_nat = matches!(spec.end(), End::Nat { .. });
            is_nat.then_some(Boxed { node, spec })
        });
        couples(&boxes.collect::<Vec<_>>())
    }

    async fn try_couple(&self, couple: &Couple<'_>) -> Result<(), StepError> {
        self.expect(couple.stand_in, couple.other).await?;
        let cells = self.ways(couple);
        for cell in &cells {
            self.compare_with_theory(cell).await?;
        }
        // Each has ports of its own, and nobody asks how long it takes.
        let all = cells.iter().cycle().take(cells.len() * EACH_WAY);
        let all = all.map(|cell| self.try_way(couple, cell));
        join_all(all).await.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    }

    async fn try_way(&self, couple: &Couple<'_>, cell: &Cell) -> Result<(), RecordError> {
        let nothing = async { Ok(()) };
        let loaded = self.load(cell, &Rung::ALL, &[], nothing).await;
        let (trial, detail) = judged(cell.predicted, loaded);
        let nat = describe(couple.other.behaviour);
        let conditions = BTreeMap::from([("nat".to_owned(), nat)]);
        self.trial(cell, SAME_NAT, conditions, trial, detail).await
    }

    /// Both directions, as theory sees them now.
    fn ways(&self, couple: &Couple<'_>) -> Vec<Cell> {
        let names = [&couple.alone.name, &couple.stand_in.name];
        let all = model::cells::between_all(self.context.plan).into_iter();
        let between = all.filter(|cell| cell.pair.nodes().iter().all(|node| names.contains(node)));
        let as_now = between.map(|cell| Cell {
            category: category(couple.end, couple.end),
            predicted: predict(couple.end, couple.end),
            ..cell
        });
        as_now.filter(|c| c.pair.family == Family::Ipv4).collect()
    }

    /// The box before a node is this one, by measurement.
    async fn expect(&self, node: &Node, spec: NatSpec) -> Result<(), StepError> {
        let tester = self.plain(node)?;
        let mut measured = self.context.certify(tester, spec, Family::Ipv4).await?;
        measured.stands_in = node.nat.as_ref().is_some_and(|own| own.spec != spec);
        let mismatch = measured.mismatch.clone();
        self.context.recorder.record(Event::NatMeasured(measured))?;
        mismatch.map_or(Ok(()), |mismatch| {
            Err(StepError::Infrastructure(format!(
                "the NAT box of {}, made another for the time, is not that: {mismatch}",
                node.name
            )))
        })
    }

    fn plain(&self, node: &Node) -> Result<&Tester, StepError> {
        let testers = &self.context.testers.reference;
        let tester = testers.get(&PeerId::first(node.name.clone()));
        let missing = || format!("no plain tester runs on {}", node.name);
        tester.ok_or_else(|| StepError::Infrastructure(missing()))
    }

    /// Only where plain UDP does what theory says is a stack's failure the stack's.
    async fn compare_with_theory(&self, cell: &Cell) -> Result<(), StepError> {
        let terms = self.context.reference_terms();
        let ends = self.context.ends(&self.context.testers.reference, cell);
        let [caller, callee] = ends.await.map_err(|e| StepError::infrastructure(&e))?;
        let loading = Loading {
            terms: &terms,
            id: AttemptId(format!(
                "{}-plain-{}-{:08x}",
                self.taking.id(),
                cell.pair,
                rand::random::<u32>()
            )),
            pair: &cell.pair,
            caller,
            callee,
            rungs: &Rung::ALL,
            orders: &[],
        };
        let loaded = loading.run(async { Ok(()) }).await;
        let (trial, detail) = judged(cell.predicted, loaded);
        let happened = detail.unwrap_or_else(|| "it connected".into());
        match (trial, cell.predicted) {
            (Trial::Success, Prediction::Always)
            | (Trial::Failure, Prediction::Never)
            | (Trial::Success | Trial::Failure, Prediction::Sometimes) => Ok(()),
            _ => Err(StepError::Infrastructure(format!(
                "plain UDP does not do what theory says of {} on {}: {} ({happened})",
                SAME_NAT, cell.pair, cell.predicted
            ))),
        }
    }
}

/// Whoever is alone with what it is to the outside, each with another one that needs
/// nothing but other rules to be the same. They take turns.
fn couples<'a>(boxes: &[Boxed<'a>]) -> Vec<Couple<'a>> {
    let of = |end: End| boxes.iter().filter(move |b| b.spec.end() == end);
    let alone = boxes.iter().filter(|b| of(b.spec.end()).count() == 1);
    let couples = alone.enumerate().filter_map(|(turn, alone)| {
        let is_plain = |b: &&Boxed<'_>| b.spec.cgnat.is_none() && b.spec.udp_timeout.is_none();
        let others = boxes.iter().filter(|b| b.node.name != alone.node.name);
        let others: Vec<&Boxed<'_>> = others.filter(is_plain).collect();
        let stand_in = others.get(turn % others.len().max(1))?;
        Some(Couple {
            end: alone.spec.end(),
            alone: alone.node,
            stand_in: stand_in.node,
            own: stand_in.spec,
            other: as_seen(alone.spec),
        })
    });
    couples.collect()
}

/// One box that is to the outside what these are in a row.
fn as_seen(spec: NatSpec) -> NatSpec {
    NatSpec {
        port_preservation: spec.keeps_ports(),
        hairpin: spec.hairpin,
        inbound: spec.inbound,
        ..NatSpec::from(spec.effective())
    }
}

/// As an attempt of such a cell counts.
fn judged(predicted: Prediction, loaded: Result<Loaded, AgentError>) -> (Trial, Option<String>) {
    let loaded = match loaded {
        Err(error) => return (error.as_trial(), Some(crate::error_chain(&error))),
        Ok(loaded) => loaded,
    };
    match loaded.outcome {
        Outcome::Infrastructure { detail } => (Trial::Infrastructure, Some(detail)),
        Outcome::StackFailure(failure) => (Trial::Failure, Some(failure.to_string())),
        Outcome::Success
            if predicted == Prediction::Always && loaded.observed.path == ObservedPath::Relayed =>
        {
            let detail = "relayed, where theory says that a path exists";
            (Trial::Failure, Some(detail.into()))
        }
        Outcome::Success => (Trial::Success, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(nats: &str) -> Vec<String> {
        let public = "  - { name: public, addresses: [192.0.2.9], role: test }\n";
        let text = format!("fleet: f\nnodes:\n{public}{nats}");
        let fleet = model::inventory::read("f", &text).unwrap();
        let boxes = fleet.nodes.iter().filter_map(|node| {
            let spec = node.nat.as_ref()?.spec;
            Some(Boxed { node, spec })
        });
        let boxes: Vec<Boxed<'_>> = boxes.collect();
        couples(&boxes)
            .iter()
            .map(|c| format!("{} by {} as {}", c.alone.name, c.stand_in.name, c.other))
            .collect()
    }

    fn node(number: u8, nat: &str) -> String {
        format!("  - {{ name: n{number}, addresses: [192.0.2.{number}], role: nat, nat: {nat} }}\n")
    }

    #[test]
    fn whoever_is_alone_gets_a_stand_in_that_needs_no_more_than_other_rules() {
        let nats = [
            node(1, "{ type: full-cone }"),
            node(2, "{ type: symmetric, udp_timeout: 20s }"),
            node(3, "{ type: port-restricted }"),
            node(4, "{ type: port-restricted }"),
        ];
        assert_eq!(
            told(&nats.concat()),
            [
                "n1 by n3 as Full Cone (EIM/EIF)",
                "n2 by n3 as Symmetric (APDM/APDF)"
            ]
        );
    }

    #[test]
    fn nobody_stands_in_where_nobody_can() {
        assert!(told(&node(1, "{ type: full-cone }")).is_empty());
        let two = [
            node(1, "{ type: full-cone, udp_timeout: 20s }"),
            node(2, "{ type: symmetric, udp_timeout: 20s }"),
        ];
        assert!(told(&two.concat()).is_empty());
    }
}
