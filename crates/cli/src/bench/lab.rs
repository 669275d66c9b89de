//! What the twin costs: boot, removal, throughput, delay.

mod delay;
mod throughput;

use std::time::Instant;

use lab::{Twin, UpOptions};

use super::ground::{NAME, saorsa};
use super::{figure, median};
use crate::twin::UntilDropped;

/// Times that a measurement is taken; its median counts.
const ROUNDS: usize = 3;

pub fn run() -> miette::Result<()> {
    let inventory = saorsa()?;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (boot, removal) = up_and_down(&inventory)?;
        up.push(boot);
        down.push(removal);
    }
    figure("ten hosts up", median(up));
    figure("ten hosts down", median(down));
    figure(
        "TCP through the WAN, of a veth pair",
        throughput::measure()?,
    );
    let delay = delay::measure()?;
    figure("added delay off the set value, p99", delay.off_p99_ms);
    figure("drops not asked for", delay.drops);
    Ok(())
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
