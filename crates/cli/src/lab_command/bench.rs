//! `vps-test lab bench`: what the twin costs. One line of JSON a figure.

mod delay;
mod throughput;

use std::path::PathBuf;
use std::time::Instant;

use lab::{Twin, UpOptions};

use crate::inventory_file;
use crate::twin::UntilDropped;

const NAME: &str = "bench";

/// Times that a measurement is taken; its median counts.
const ROUNDS: usize = 3;

pub fn run(fleet: Option<PathBuf>) -> miette::Result<()> {
    let inventory = inventory_file::text(&inventory_file::find(fleet)?)?;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (boot, removal) = up_and_down(&inventory)?;
        up.push(boot);
        down.push(removal);
    }
    print("ten hosts up", median(up));
    print("ten hosts down", median(down));
    print(
        "TCP through the WAN, of a veth pair",
        throughput::measure()?,
    );
    let delay = delay::measure()?;
    print("added delay off the set value, p99", delay.off_p99_ms);
    print("drops not asked for", delay.drops);
    Ok(())
}

fn print(name: &str, value: f64) {
    println!("{}", serde_json::json!({ "name": name, "value": value }));
}

/// Seconds each way.
fn up_and_down(inventory: &str) -> miette::Result<(f64, f64)> {
    Twin::down(NAME)?;
    let began = Instant::now();
    let guard = boot(inventory)?.1;
    let up = began.elapsed();
    let began = Instant::now();
    Twin::down(NAME)?;
    drop(guard);
    Ok((up.as_secs_f64(), began.elapsed().as_secs_f64()))
}

/// The twin is gone when the guard is.
fn boot(inventory: &str) -> miette::Result<(Twin, UntilDropped)> {
    Twin::down(NAME)?;
    let guard = UntilDropped::new(NAME);
    let options = UpOptions {
        name: NAME,
        inventory,
    };
    Ok((Twin::up(&options, |_| {})?, guard))
}

/// Two hosts, the first of which reaches the second in this time.
fn two_hosts(delay_ms: f64) -> String {
    format!(
        "fleet: bench\n\
         wan:\n  links:\n    - {{ from: sender, to: receiver, delay_ms: {delay_ms} }}\n\
         nodes:\n  \
         - {{ name: sender, addresses: [10.0.0.1], role: test }}\n  \
         - {{ name: receiver, addresses: [10.0.0.2], role: test }}\n"
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
