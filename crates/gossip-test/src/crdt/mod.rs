//! Concurrent edits on several CRDTs by several peers, some of them cut off meanwhile.

mod edit;
mod model;
mod replica;

use std::collections::BTreeMap;
use std::time::Duration;

use ::model::protocol::{Failure, Perform, Performed};
use agent::Notes;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

pub use edit::Edit;
pub use replica::Replica;

use replica::{BY_ALL, BY_TWO, SET};

use crate::call::{held, params, patience, performed};
use crate::clock::now_ms;
use crate::said::{Said, fellows};
use crate::session::{Peer, Session};
use crate::suites::no_such_step;

const LOOK: Duration = Duration::from_millis(50);
/// A register that has said the same for so long has heard everything.
const STILL: Duration = Duration::from_secs(4);

pub async fn step(session: &Session, call: &Perform) -> Result<Performed, Failure> {
    let Some(peer) = session.peer() else {
        return Ok(Performed::default());
    };
    match call.step.as_str() {
        "edit" => edit(session, &peer, call).await,
        "converge" => converge(session, &peer, call).await,
        "compare" => Ok(compare(session, call)),
        _ => Err(no_such_step(call)),
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Edits {
    /// Of the two sets of edits: everybody together, or apart.
    apart: bool,
    /// How long to let them travel.
    seconds: u64,
}

impl Default for Edits {
    fn default() -> Self {
        Self {
            apart: false,
            seconds: 4,
        }
    }
}

async fn edit(session: &Session, peer: &Peer, call: &Perform) -> Result<Performed, Failure> {
    let Edits { apart, seconds } = params(call)?;
    let fellows = fellows(call);
    let mut names: Vec<&str> = fellows.keys().map(String::as_str).collect();
    names.push(&session.name);
    names.sort_unstable();
    let place = names
        .iter()
        .position(|name| *name == session.name)
        .unwrap_or(0);
    let next = names[(place + 1) % names.len()];
    let (me, replica) = (&session.name, &peer.replica);
    let mut done = Vec::new();
    if apart {
        // What everybody has seen, and the same time somebody else wants to keep.
        done.push(replica.remove(format!("{me}-1")).await?);
        done.push(replica.remove(format!("{next}-2")).await?);
        if place % 2 == 0 {
            done.push(replica.remove("common".into()).await?);
        } else {
            done.push(replica.add("common".into()).await?);
        }
        done.push(replica.add(format!("{next}-2")).await?);
        done.push(replica.add(format!("{me}-3")).await?);
        if place % 3 == 0 {
            done.push(replica.remove("doomed".into()).await?);
        }
    } else {
        for element in [&format!("{me}-1"), &format!("{me}-2"), "common", "doomed"] {
            done.push(replica.add(element.into()).await?);
        }
    }
    let when = if apart { "apart" } else { "together" };
    done.push(replica.write(BY_ALL, format!("{me}, {when}")));
    if place < 2 {
        done.push(replica.write(BY_TWO, format!("{me}, {when}")));
    }
    replica.look().await;
    sleep(Duration::from_secs(seconds)).await;
    session.said().edits.extend(done);
    Ok(performed(Notes::default(), &session.said()))
}

/// Waits until this replica is what all edits together make of it.
async fn converge(session: &Session, peer: &Peer, call: &Perform) -> Result<Performed, Failure> {
    let began = now_ms();
    let edits = all_edits(session, &fellows(call));
    let replica = &peer.replica;
    let until = Instant::now() + patience(call);
    let elements = model::set(&edits);
    let still_since = |name: &str| replica.changed_ms(name).unwrap_or(began);
    let registers = [BY_TWO, BY_ALL].map(|name| (name, model::register(&edits, name)));
    while Instant::now() < until {
        let set_is_there = replica.elements().await == elements;
        let registers_rest = registers.iter().all(|(name, may_win)| {
            let rests = now_ms() - still_since(name).max(began) > STILL.as_secs_f64() * 1e3;
            rests && may_win.contains(&replica.value(name))
        });
        if set_is_there && registers_rest {
            break;
        }
        sleep(LOOK).await;
    }
    let set = replica.elements().await;
    let mut notes = Notes::default();
    let mut verdict = |name: &'static str, is_right: bool, why_not: String| {
        let crdt = [("crdt", name)];
        notes.trial("converged", &crdt, held(is_right, || why_not));
        if is_right {
            let took = (still_since(name) - began).max(0.0);
            notes.sample("convergence_ms", &crdt, took);
        }
    };
    let missing: Vec<&String> = elements.difference(&set).collect();
    let surplus: Vec<&String> = set.difference(&elements).collect();
    verdict(
        SET,
        set == elements,
        format!("without {missing:?}, and with {surplus:?}, which no add keeps"),
    );
    for (name, may_win) in &registers {
        let value = replica.value(name);
        verdict(
            name,
            may_win.contains(&value),
            format!("says `{value}`, where only {may_win:?} may win"),
        );
    }
    let states = replica.states().await;
    session.said().states = states
        .into_iter()
        .map(|(name, state)| (name.to_owned(), hashed(&state)))
        .collect();
    Ok(performed(notes, &session.said()))
}

fn all_edits(session: &Session, fellows: &BTreeMap<String, Said>) -> Vec<Edit> {
    let own = session.said().edits.clone();
    let theirs = fellows.values().flat_map(|said| said.edits.iter().cloned());
    own.into_iter().chain(theirs).collect()
}

/// A hash to compare, and of a value enough to recognise it by.
fn hashed(state: &str) -> String {
    let hash = ::model::payload::sha256_hex(state.as_bytes());
    match state.len() {
        0..40 => format!("{hash} `{state}`"),
        length => format!("{hash} ({length} bytes)"),
    }
}

/// Every pair of peers once.
fn compare(session: &Session, call: &Perform) -> Performed {
    let own = session.said().states.clone();
    let mut notes = Notes::default();
    for (crdt, state) in &own {
        for (name, said) in fellows(call) {
            let theirs = said.states.get(crdt).filter(|_| session.name < name);
            if let Some(theirs) = theirs {
                let why_not = || format!("{name} has {theirs}, we {state}");
                let agreed = held(theirs == state, why_not);
                notes.trial("agreed", &[("crdt", crdt)], agreed);
            }
        }
    }
    performed(notes, &session.said())
}
