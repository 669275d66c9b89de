//! `vps-test bench …`: what the README promises, measured. `cargo xtask bench`
//! runs these and puts each value beside its limit.
//!
//! Each prints a line of JSON per figure; names, units and limits are xtask's.

mod capture;
mod deploy;
mod ground;
mod lab;
mod matrix;
mod nat;
mod peers;
mod registry;

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
    /// 30, 100 and 300 peers on ten hosts
    Peers,
    /// The matrix with and without captures
    Capture,
    /// The registry on one core, with 2,000 peers and 50 dashboards
    Registry,
    /// NAT boxes: certifying them, and sending through them
    Nat,
}

pub fn run(args: &BenchArgs) -> miette::Result<ExitCode> {
    match args.command {
        BenchCommand::Lab => lab::run()?,
        BenchCommand::Deploy => deploy::run()?,
        BenchCommand::Matrix => matrix::run()?,
        BenchCommand::Peers => peers::run()?,
        BenchCommand::Capture => capture::run()?,
        BenchCommand::Registry => registry::run()?,
        BenchCommand::Nat => nat::run()?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_nothing_is_no_number() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
