//! What people say of runs that wait for them. The registry keeps it and decides
//! nothing: the run's journal is elsewhere, and whoever has it takes the word over.

use jiff::Timestamp;
use model::event::Decision;
use model::publication::{Decide, Decided, DecisionAnswer, News, RunId};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::fields::check_reason;
use crate::state::State;

impl State {
    /// The first word counts; it is on the disk when this returns.
    pub(crate) fn decide(
        &self,
        caller: &Caller,
        id: &RunId,
        word: Decide,
    ) -> Result<Decided, ApiError> {
        let folded = self.run_of(caller, id)?;
        if !folded.run().awaits_review() {
            return Err(ApiError::NotWaiting(id.clone()));
        }
        let decided = Decided {
            decision: word.decision,
            reason: word
                .reason
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty()),
            by: caller.name().to_owned(),
            at: Timestamp::now(),
            entries: folded.next_seq,
        };
        check_reason(
            decided.reason.as_deref(),
            decided.decision == Decision::Rejected,
        )?;
        if !self.runs.store().keep_decision(id, &decided)? {
            return Err(ApiError::Decided(id.clone()));
        }
        tracing::info!(run = %id, by = decided.by, decision = ?decided.decision, "decided");
        self.tell(&folded.summary.fleet, News::Decided { run: id.clone() });
        Ok(decided)
    }

    pub(crate) fn decision(&self, caller: &Caller, id: &RunId) -> Result<DecisionAnswer, ApiError> {
        let folded = self.run_of(caller, id)?;
        Ok(DecisionAnswer {
            awaits_review: folded.run().awaits_review(),
            decided: self.runs.store().decision(id)?,
        })
    }
}
