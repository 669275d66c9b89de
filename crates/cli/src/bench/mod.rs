//! `vps-test bench …`: what the README promises, measured. `cargo xtask bench`
//! runs these and puts each value beside its limit.
//!
//! Each prints a line of JSON per figure; names, units and limits are xtask's.

mod delay;
mod deploy;
mod ground;
mod lab;
mod matrix;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// The twin: up, down, throughput, delay
    Lab,
    /// Upload and restart, against scp and ssh in a loop
    Deploy,
    /// The matrix of ant-quic, and a whole run
    Matrix,
    /// Send stamped datagrams, 10,000 a second
    Send { to: SocketAddr },
    /// Receive them, and print how long each was under way, in nanoseconds
    Receive { at: SocketAddr },
}

pub fn run(args: &BenchArgs) -> miette::Result<ExitCode> {
    match args.command {
        BenchCommand::Lab => lab::run()?,
        BenchCommand::Deploy => deploy::run()?,
        BenchCommand::Matrix => matrix::run()?,
        BenchCommand::Send { to } => delay::send(to)?,
        BenchCommand::Receive { at } => delay::receive(at)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn figure(name: &str, value: f64) {
    println!("{}", serde_json::json!({ "name": name, "value": value }));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that this share of them does not exceed.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (share * values.len() as f64).ceil() as usize;
    values
        .get(at.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_tail() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(hundred, 0.99), 99.0);
        assert!(median(Vec::new()).is_nan());
    }
}
