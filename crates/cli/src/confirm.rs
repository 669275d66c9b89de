//! `vps-test confirm`: a person's word on a run that is parked for it, given here or
//! on the dashboard.

mod dashboard;

use std::process::ExitCode;

use clap::Args;
use engine::RunDir;
use miette::IntoDiagnostic;
use model::event::{Decision, Review};
use model::proof::Proof;
use model::stats::Verdict;

use crate::exit;
use crate::runs;
use crate::screen;

#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// PROJECT for its newest run, PROJECT/TIME, or a run directory
    #[arg(value_name = "RUN")]
    run: String,
    /// Say no: the run fails
    #[arg(long)]
    reject: bool,
    /// Why, for the proof
    #[arg(long, value_name = "TEXT", required_if_eq("reject", "true"))]
    reason: Option<String>,
    /// Who says so; by default USER@HOST
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Wait until somebody has decided on the dashboard, and take that over
    #[arg(long, conflicts_with_all = ["reject", "reason", "by"])]
    watch: bool,
}

pub fn run(args: ConfirmArgs) -> miette::Result<ExitCode> {
    let dir = runs::find(&runs::state_dir()?, &args.run)?;
    if args.watch {
        return dashboard::watch(&dir);
    }
    let decision = if args.reject {
        Decision::Rejected
    } else {
        Decision::Confirmed
    };
    let review = Review {
        decision,
        by: args.by.unwrap_or_else(somebody),
        via: "terminal".into(),
        reason: args.reason,
    };
    let code = take_over(&dir, review)?;
    dashboard::tell(&dir);
    Ok(code)
}

/// Into the journal and the proof.
fn take_over(dir: &RunDir, review: Review) -> miette::Result<ExitCode> {
    let written = engine::review(dir, review).into_diagnostic()?;
    Ok(show(
        &written.proof,
        &written.document.display().to_string(),
    ))
}

fn show(proof: &Proof, document: &str) -> ExitCode {
    print!(
        "{}",
        screen::summary::render(proof, document, None, screen::Paint::detect())
    );
    match proof.verdict {
        Verdict::Pass => exit::PASS,
        Verdict::Fail => exit::fail(),
        Verdict::Inconclusive => exit::inconclusive(),
    }
}

/// Behind sudo, whoever called it.
fn somebody() -> String {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = set("SUDO_USER")
        .or_else(|| set("USER"))
        .or_else(|| set("LOGNAME"))
        .unwrap_or_else(|| "somebody".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| set("HOSTNAME"));
    match host {
        Some(host) => format!("{user}@{}", host.trim()),
        None => user,
    }
}
