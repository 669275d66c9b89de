//! What may happen when: every event is held against the run as it is before it
//! becomes a part of it.

use crate::attempt::AttemptStart;
use crate::event::Event;
use crate::inventory::NodeName;
use crate::protocol::AttemptId;
use crate::run::{Run, State};
use crate::stats::Verdict;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IllegalEvent {
    #[error("a run begins with a confirmed plan, not with {got}")]
    NoPlan { got: &'static str },
    #[error("the plan is confirmed already")]
    SecondPlan,
    #[error("{from} does not lead to {to}")]
    Transition { from: State, to: State },
    #[error("{got} does not belong to {state}")]
    WrongState { state: State, got: &'static str },
    #[error("attempt {id} was started already")]
    DuplicateAttempt { id: AttemptId },
    #[error("attempt {id} was not started or has ended already")]
    UnknownAttempt { id: AttemptId },
    #[error("node {node} is not in the plan")]
    UnknownNode { node: NodeName },
    #[error("the run is over")]
    Over,
}

impl Run {
    pub(super) fn check(&self, event: &Event) -> Result<(), IllegalEvent> {
        match (&self.plan, event) {
            (None, Event::Confirmed(_)) => return Ok(()),
            (None, other) => return Err(IllegalEvent::NoPlan { got: other.name() }),
            (Some(_), Event::Confirmed(_)) => return Err(IllegalEvent::SecondPlan),
            (Some(_), _) => {}
        }
        match event {
            Event::Collected(_) if self.is_over() => Ok(()),
            Event::Collected(_) => self.wrong_state(event),
            _ if self.state == State::Complete => Err(IllegalEvent::Over),
            Event::Resumed => Ok(()),
            Event::Reviewed(_) if self.awaits_review() => Ok(()),
            Event::Reviewed(_) => self.wrong_state(event),
            _ if self.stopped.is_some() => Err(IllegalEvent::Over),
            _ => self.check_place(event),
        }
    }

    fn check_place(&self, event: &Event) -> Result<(), IllegalEvent> {
        match event {
            Event::Entered { state } => self.check_transition(*state),
            Event::WaitBegan { state, .. }
                if state.is_wait() && self.judged == Some(Verdict::Pass) =>
            {
                Ok(())
            }
            Event::WaitBegan { state, .. } => Err(IllegalEvent::Transition {
                from: self.state,
                to: *state,
            }),
            Event::Finished { state } if *state != self.state => self.wrong_state(event),
            Event::Completed if self.state != State::Test || self.judged != Some(Verdict::Pass) => {
                Err(IllegalEvent::Transition {
                    from: self.state,
                    to: State::Complete,
                })
            }
            Event::Built(_) | Event::BuildFailed { .. } => self.only_in(State::BuildLocal, event),
            Event::LinksMeasured { .. }
            | Event::NatMeasured(_)
            | Event::Judged { .. }
            | Event::Measured(_)
            | Event::SuiteFinished { .. } => self.only_in(State::Test, event),
            Event::SourceTaken(_) => self.only_in(State::BuildLocal, event),
            Event::FailureFound(_) | Event::FixTried(_) | Event::FixCommitted(_) => {
                self.only_in(State::Fix, event)
            }
            Event::Probed { .. } if !self.state.is_wait() => self.wrong_state(event),
            Event::AttemptStarted(start) => {
                self.only_in(State::Test, event)?;
                self.check_new_attempt(start)
            }
            Event::AttemptFinished(attempt) => self.check_in_flight(&attempt.start.id),
            Event::AttemptInterrupted { id } => self.check_in_flight(id),
            Event::NodeReached { node, .. } | Event::NodeDegraded { node, .. } => {
                self.check_node(node)
            }
            Event::Deployed(deployed) => self.check_node(&deployed.node),
            _ => Ok(()),
        }
    }

    fn check_transition(&self, to: State) -> Result<(), IllegalEvent> {
        if self.state.successors().contains(&to) {
            Ok(())
        } else {
            Err(IllegalEvent::Transition {
                from: self.state,
                to,
            })
        }
    }

    fn only_in(&self, state: State, event: &Event) -> Result<(), IllegalEvent> {
        if self.state == state {
            Ok(())
        } else {
            self.wrong_state(event)
        }
    }

    fn wrong_state(&self, event: &Event) -> Result<(), IllegalEvent> {
        Err(IllegalEvent::WrongState {
            state: self.state,
            got: event.name(),
        })
    }

    fn check_new_attempt(&self, start: &AttemptStart) -> Result<(), IllegalEvent> {
        if self.attempt_ids.contains(&start.id) {
            Err(IllegalEvent::DuplicateAttempt {
                id: start.id.clone(),
            })
        } else {
            Ok(())
        }
    }

    fn check_in_flight(&self, id: &AttemptId) -> Result<(), IllegalEvent> {
        if self.in_flight.contains_key(id) {
            Ok(())
        } else {
            Err(IllegalEvent::UnknownAttempt { id: id.clone() })
        }
    }

    fn check_node(&self, node: &NodeName) -> Result<(), IllegalEvent> {
        let known = self
            .plan
            .as_ref()
            .is_some_and(|plan| plan.nodes.iter().any(|n| n.name == *node));
        if known {
            Ok(())
        } else {
            Err(IllegalEvent::UnknownNode { node: node.clone() })
        }
    }
}
