//! Exit codes, all of them. `vps-test --help` ends with this list.

use std::process::ExitCode;

pub const HELP: &str = "\
Exit codes:
  0  pass: the criteria are proved
  1  fail: the criteria are refuted, or a cell that theory calls always failed every time
  2  usage: the command line, the config or the inventory is wrong
  3  inconclusive: the data did not decide
  4  infrastructure: hosts, NATs or tools; nothing was learnt about the stack";

pub const PASS: ExitCode = ExitCode::SUCCESS;

pub const FAIL: u8 = 1;

pub fn fail() -> ExitCode {
    ExitCode::from(FAIL)
}

pub const USAGE: u8 = 2;

pub fn inconclusive() -> ExitCode {
    ExitCode::from(3)
}

pub const INFRASTRUCTURE: u8 = 4;

/// Hosts, tools or files failed us, and the message says which.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{0}")]
pub struct Infrastructure(String);

impl Infrastructure {
    /// With all causes, as they say what is to be done.
    pub fn from_error(error: &(dyn std::error::Error + 'static)) -> miette::Report {
        let causes = std::iter::successors(Some(error), |e| e.source());
        let mut words: Vec<String> = causes.map(ToString::to_string).collect();
        words.dedup();
        Self(words.join(": ")).into()
    }
}

/// Of an error that ended the program.
pub fn of(report: &miette::Report) -> u8 {
    #[cfg(target_os = "linux")]
    if report
        .downcast_ref::<lab::LabError>()
        .is_some_and(is_infrastructure)
    {
        return INFRASTRUCTURE;
    }
    if report.downcast_ref::<Infrastructure>().is_some() {
        INFRASTRUCTURE
    } else {
        USAGE
    }
}

/// All but a word that was wrong.
#[cfg(target_os = "linux")]
fn is_infrastructure(error: &lab::LabError) -> bool {
    use lab::LabError::{BadName, Inventory, NoSuchHost, NotUp, OtherFleet};
    !matches!(
        error,
        BadName { .. } | Inventory(_) | NoSuchHost { .. } | NotUp { .. } | OtherFleet { .. }
    )
}
