//! `vps-test verify` and `vps-test sign`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use engine::{Check, Status, Verification};
use miette::{IntoDiagnostic, WrapErr};

use crate::exit;
use crate::runs;
use crate::screen::{Paint, Style};

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// PROJECT for its newest run, PROJECT/TIME, or a run directory
    #[arg(value_name = "RUN")]
    run: String,
    /// Who may have signed, as ssh-keygen's allowed_signers; the run must be signed then
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// 0 where everything matches, 1 where something does not, 2 where it cannot be read.
pub fn run(args: &VerifyArgs) -> miette::Result<ExitCode> {
    let dir = runs::find(&runs::state_dir()?, &args.run)?;
    if let Some(signers) = &args.signers {
        std::fs::metadata(signers)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot read the signers `{}`", signers.display()))?;
    }
    let verification = engine::verify(&dir, args.signers.as_deref()).into_diagnostic()?;
    if args.json {
        let text = serde_json::to_string_pretty(&verification).into_diagnostic()?;
        println!("{text}");
    } else {
        print!("{}", render(&verification, Paint::detect()));
    }
    Ok(if verification.matches {
        exit::PASS
    } else {
        exit::fail()
    })
}

fn render(verification: &Verification, paint: Paint) -> String {
    let mut out = format!("{}\n", verification.run.display());
    for check in &verification.checks {
        out.push_str(&line(check, paint));
    }
    let verdict = verification
        .verdict
        .map_or_else(|| "none".to_owned(), |verdict| verdict.to_string());
    out.push_str(&if verification.matches {
        let word = paint.text(Style::Good, "matches");
        format!("\n  {word}: the journal gives {verdict}, and everything beside it follows\n")
    } else {
        let word = paint.text(Style::Bad, "does not match");
        format!("\n  {word}: nothing here is to be believed; by its journal the verdict would be {verdict}\n")
    });
    out
}

fn line(check: &Check, paint: Paint) -> String {
    let (sign, style) = match check.status {
        Status::Matches => ("✓", Style::Good),
        Status::Differs => ("✗", Style::Bad),
        Status::Absent => ("–", Style::Dim),
    };
    let mut line = format!(
        "  {} {:<11} {}\n",
        paint.text(style, sign),
        check.name,
        check.detail
    );
    for problem in &check.problems {
        line.push_str(&format!("      {}\n", paint.text(Style::Bad, problem)));
    }
    line
}

#[derive(Debug, Args)]
pub struct SignArgs {
    /// PROJECT for its newest run, PROJECT/TIME, or a run directory
    #[arg(value_name = "RUN")]
    run: String,
    /// An SSH key, or the public half of one that the agent holds; by default ~/.ssh/id_ed25519, id_ecdsa or id_rsa
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Signs only what is whole: a run that does not match its journal stays unsigned.
pub fn sign(args: SignArgs) -> miette::Result<ExitCode> {
    let dir = runs::find(&runs::state_dir()?, &args.run)?;
    let key = engine::choose_key(args.key).into_diagnostic()?;
    let _ = std::fs::metadata(&key).into_diagnostic()?;
    let verification = engine::verify(&dir, None).into_diagnostic()?;
    let broken = verification
        .checks
        .iter()
        .any(|c| c.status == Status::Differs && c.name != "signature");
    if broken {
        print!("{}", render(&verification, Paint::detect()));
        return Ok(exit::fail());
    }
    let signature = engine::sign(&dir, &key).into_diagnostic()?;
    println!("{}", signature.display());
    Ok(exit::PASS)
}
