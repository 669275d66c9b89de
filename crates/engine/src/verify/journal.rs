//! What a journal says against itself: its chain, the run's own rules, the order of
//! attempts, and verdicts against what they were given on.

use std::collections::{BTreeMap, BTreeSet};

use model::attempt::{AttemptStart, Counted, Matrix};
use model::event::{Collected, Entry, Event, Plan};
use model::inventory::NodeName;
use model::judge;
use model::nat::theory::{category, predict};
use model::run::{IllegalEvent, Run};

use super::Check;
use crate::journal::Examined;

pub fn chain(journal: &Examined) -> Check {
    let mut problems: Vec<String> = journal
        .problems
        .iter()
        .map(|(line, what)| format!("line {line}: {what}"))
        .collect();
    if journal.torn {
        problems.push("the last line is cut off".into());
    }
    let detail = format!(
        "{} entries, each chained to the one before, head {}",
        journal.entries.len(),
        &journal.head[..16]
    );
    Check::new("journal", detail, problems)
}

/// A run is over when its evidence was gathered: a journal that ends earlier was
/// cut, or its run is still going on.
pub fn rules(entries: &[Entry]) -> Check {
    let (run, illegal) = fold(entries);
    let mut problems = Vec::new();
    if let Some((seq, error)) = illegal {
        problems.push(format!(
            "entry {seq} cannot follow on those before it: {error}"
        ));
    } else if !run.is_over() {
        problems.push(format!(
            "it ends in {}: the run goes on, was killed, or the journal was cut off",
            run.state
        ));
    } else if run.collected.is_none() {
        problems.push(
            "it ends before evidence was gathered: it was cut off, or the run was killed".into(),
        );
    }
    let state = if run.stopped.is_some() {
        "STOPPED".to_owned()
    } else {
        run.state.to_string()
    };
    Check::new(
        "run",
        format!("its events follow the run's rules, to {state}"),
        problems,
    )
}

fn fold(entries: &[Entry]) -> (Run, Option<(u64, IllegalEvent)>) {
    let mut run = Run::default();
    for entry in entries {
        if let Err(error) = run.apply(entry.at, &entry.event) {
            return (run, Some((entry.seq, error)));
        }
    }
    (run, None)
}

/// An attempt is what it was announced as, its category follows from the plan, and
/// none is missing from a TEST's count.
pub fn attempts(entries: &[Entry]) -> Check {
    let mut problems = Vec::new();
    let mut started: BTreeMap<&str, &AttemptStart> = BTreeMap::new();
    let mut positions: BTreeMap<(Matrix, u32, u32), BTreeSet<u32>> = BTreeMap::new();
    let mut plan = None;
    let mut finished = 0;
    for entry in entries {
        match &entry.event {
            Event::Confirmed(confirmed) => plan = Some(confirmed.as_ref()),
            Event::AttemptStarted(start) => {
                started.insert(&start.id.0, start);
                let test = (start.matrix, start.cycle, start.pass);
                if !positions.entry(test).or_default().insert(start.position) {
                    problems.push(format!(
                        "entry {}: {} has a position that another attempt has",
                        entry.seq, start.id
                    ));
                }
                problems.extend(plan.and_then(|plan| mislabelled(plan, start)));
            }
            Event::AttemptFinished(attempt) => {
                finished += 1;
                if started.get(attempt.start.id.0.as_str()) != Some(&&attempt.start) {
                    problems.push(format!(
                        "entry {}: {} ends as another attempt than it was started as",
                        entry.seq, attempt.start.id
                    ));
                }
            }
            _ => {}
        }
    }
    for ((matrix, cycle, pass), there) in &positions {
        let due = 0..=there.last().copied().unwrap_or_default();
        let missing: Vec<String> = due
            .filter(|p| !there.contains(p))
            .map(|p| p.to_string())
            .collect();
        if !missing.is_empty() {
            problems.push(format!(
                "cycle {cycle}, pass {pass}: attempts at positions {} of {matrix:?} are missing",
                missing.join(", ")
            ));
        }
    }
    Check::new(
        "attempts",
        format!("{finished}, none missing from the count, categories as the plan's labels say"),
        problems,
    )
}

fn mislabelled(plan: &Plan, start: &AttemptStart) -> Option<String> {
    let nat = |name: &NodeName| plan.nodes.iter().find(|n| n.name == *name).map(|n| n.nat);
    let cell = &start.cell;
    let (from, to) = (nat(&cell.pair.from)?, nat(&cell.pair.to)?);
    let due = (category(from, to), predict(from, to));
    (due != (cell.category, cell.predicted)).then(|| {
        format!(
            "{}: {} is {} ({}) by the plan's labels, not {} ({})",
            start.id, cell.pair, due.0, due.1, cell.category, cell.predicted
        )
    })
}

/// Every verdict again, from the attempts that the run had at that moment.
pub fn verdicts(entries: &[Entry]) -> Check {
    let mut problems = Vec::new();
    let mut run = Run::default();
    let mut words = Vec::new();
    for entry in entries {
        if run.apply(entry.at, &entry.event).is_err() {
            break;
        }
        let Event::Judged {
            cycle,
            pass,
            verdict,
            summary,
        } = &entry.event
        else {
            continue;
        };
        let Some(plan) = &run.plan else { continue };
        let yielded = run.yielded(*cycle, *pass);
        let again = judge::judge_test(plan, &run, *cycle, *pass);
        let counted = |what| {
            yielded
                .attempts
                .iter()
                .filter(|a| a.verdict() == what)
                .count()
        };
        words.push(format!(
            "{} from {} successes and {} failures",
            again.verdict,
            counted(Counted::Success),
            counted(Counted::Failure)
        ));
        if (again.verdict, &again.summary) != (*verdict, summary) {
            problems.push(format!(
                "entry {} says {verdict} ({summary}); its attempts say {} ({})",
                entry.seq, again.verdict, again.summary
            ));
        }
    }
    if words.is_empty() {
        return Check::absent("verdict", "no TEST was judged");
    }
    Check::new("verdict", words.join(", then "), problems)
}

/// Of the newest end.
pub fn collected(entries: &[Entry]) -> Option<&Collected> {
    entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Collected(collected) => Some(collected),
        _ => None,
    })
}
