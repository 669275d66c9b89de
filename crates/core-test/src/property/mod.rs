//! Random operations of several peers, held against a pure model.
//!
//! Each case is a list of operations from a seed. A case that breaks the model is
//! shrunk to the shortest list that still does, which stands in the proof with the
//! seed. All peers of a case are on this host, so that a case can be run again as
//! often as shrinking needs.

mod case;
mod model;
mod operation;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ::model::protocol::{Failure, Perform, Performed};
use agent::Notes;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use crate::tester::{bind_of, unknown};
use operation::Operation;

/// Shrinking stops here: every run of a case takes a second or so.
const SHRINK_RUNS: u32 = 24;
const SHRINK_TIME: Duration = Duration::from_secs(30);

pub async fn step(call: &Perform) -> Result<Performed, Failure> {
    if call.step != "operate" {
        return Err(unknown(call));
    }
    let host = bind_of(call)?.ip();
    let cases = call.params["cases"].as_u64().unwrap_or(1);
    let length = call.params["operations"].as_u64().unwrap_or(10);
    let first = call.params["seed"].as_str().map(str::to_owned);
    let until = Instant::now() + Duration::from_millis(call.timeout_ms.saturating_sub(2000));
    let mut notes = Notes::default();
    for number in 0..cases {
        // A replay names the one seed; else each case has its own.
        let seed = first.clone().unwrap_or_else(|| seed_of(call, number));
        let length = usize::try_from(length).unwrap_or(10);
        let done = run(host, seed.clone(), length, until).await;
        for (operation, took) in done.took {
            notes.sample("operation_ms", &[("operation", operation)], took);
        }
        // A case that had no time to begin says nothing.
        if let Some(went) = done.went {
            notes.trial("properties_hold", &[("seed", &seed)], went);
        }
        if Instant::now() >= until || first.is_some() {
            break;
        }
    }
    Ok(Performed {
        measures: notes.taken(),
        said: serde_json::Value::Null,
    })
}

fn seed_of(call: &Perform, number: u64) -> String {
    let words = format!("{} {} {number}", call.session.0, call.node);
    hex::encode(&Sha256::digest(words)[..8])
}

/// What became of a case; nothing, where it was not begun.
struct Done {
    went: Option<Result<(), String>>,
    took: Vec<(&'static str, f64)>,
}

async fn run(host: IpAddr, seed: String, length: usize, until: Instant) -> Done {
    let runtime = Handle::current();
    let went = tokio::task::spawn_blocking(move || {
        let mut took = Vec::new();
        let went = search(&runtime, host, &seed, length, until, &mut took);
        Done { went, took }
    });
    went.await.unwrap_or_else(|error| Done {
        went: Some(Err(format!("the case panicked: {error}"))),
        took: Vec::new(),
    })
}

/// Runs one case, and where it fails a shorter one, as long as that fails too.
fn search(
    runtime: &Handle,
    host: IpAddr,
    seed: &str,
    length: usize,
    until: Instant,
    took: &mut Vec<(&'static str, f64)>,
) -> Option<Result<(), String>> {
    let config = Config {
        cases: 1,
        max_shrink_iters: SHRINK_RUNS,
        max_shrink_time: u32::try_from(SHRINK_TIME.as_millis()).unwrap_or(u32::MAX),
        failure_persistence: None,
        ..Config::default()
    };
    let bytes: [u8; 32] = Sha256::digest(seed).into();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let took = std::cell::RefCell::new(took);
    let is_begun = std::cell::Cell::new(false);
    let outcome = TestRunner::new_with_rng(config, rng).run(
        &operation::sequence(length),
        |operations: Vec<Operation>| {
            // Out of time, nothing shorter is tried: what failed stays what failed.
            if Instant::now() >= until {
                return Ok(());
            }
            is_begun.set(true);
            let ran = runtime.block_on(case::run(host, &operations));
            took.borrow_mut().extend(ran.took);
            ran.went.map_err(proptest::test_runner::TestCaseError::fail)
        },
    );
    if !is_begun.get() {
        return None;
    }
    Some(match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, shortest)) => Err(format!(
            "{reason}; shortest: {}",
            operation::write(&shortest)
        )),
        Err(TestError::Abort(reason)) => Err(format!("aborted: {reason}")),
    })
}
