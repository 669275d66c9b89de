//! What was counted of one attempt, once or twice.

use std::sync::Arc;

use model::attempt::{Endpoints, Observed};
use model::flow::FlowCount;
use model::path;

use super::{Asked, Observer};

/// Who counts, and who counts the same elsewhere.
#[derive(Clone, Default)]
pub struct Observers {
    pub first: Option<Arc<dyn Observer>>,
    /// Its account must be the same as the first one's.
    pub witness: Option<Arc<dyn Observer>>,
}

/// What the counters say of an attempt.
pub struct Account {
    pub observed: Observed,
    /// `None` where nobody counted.
    pub flows: Option<Vec<FlowCount>>,
    /// The two counts differ: neither is to be believed.
    pub contradiction: Option<String>,
}

impl Observers {
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Observer>> {
        self.first.iter().chain(&self.witness)
    }

    pub async fn account(&self, asked: &Asked, ends: &Endpoints, payload_bytes: u64) -> Account {
        let Some(first) = &self.first else {
            return Account::nothing(Observed::UNMEASURED);
        };
        let mut account = ask(first, asked, ends, payload_bytes).await;
        if let Some(witness) = &self.witness {
            let other = ask(witness, asked, ends, payload_bytes).await.observed;
            account.observed.witness = Some(other.path);
            account.contradiction = contradiction(&account.observed, &other);
        }
        account
    }
}

impl Account {
    fn nothing(observed: Observed) -> Self {
        Self {
            observed,
            flows: None,
            contradiction: None,
        }
    }
}

async fn ask(
    observer: &Arc<dyn Observer>,
    asked: &Asked,
    ends: &Endpoints,
    payload_bytes: u64,
) -> Account {
    match observer.flows(asked).await {
        Ok(flows) => Account {
            observed: path::observe(&flows, ends, payload_bytes),
            flows: Some(flows),
            contradiction: None,
        },
        Err(error) => Account::nothing(Observed::unmeasured(error.0)),
    }
}

fn contradiction(one: &Observed, other: &Observed) -> Option<String> {
    let say = |observed: &Observed| {
        let via = observed
            .via
            .map_or(String::new(), |via| format!(" through {via}"));
        let why = observed
            .unmeasured
            .as_ref()
            .map_or(String::new(), |why| format!(" ({why})"));
        format!(
            "{}{via}, {} bytes forth and {} back{why}",
            observed.path, observed.forth_bytes, observed.back_bytes
        )
    };
    (!one.agrees_with(other)).then(|| {
        format!(
            "two counts of the same packets differ: {}; and {}",
            say(one),
            say(other)
        )
    })
}
