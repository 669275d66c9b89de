//! Exit codes, all of them.

use std::process::ExitCode;

/// The criteria are proved.
pub const PASS: ExitCode = ExitCode::SUCCESS;

/// The criteria are refuted, or a cell that theory calls always failed every time.
pub fn fail() -> ExitCode {
    ExitCode::from(1)
}

/// The command line, the config or the inventory is wrong.
pub const USAGE: u8 = 2;

/// The data did not decide.
pub fn inconclusive() -> ExitCode {
    ExitCode::from(3)
}

/// Hosts, NATs, tools: nothing was learnt about the stack.
pub const INFRASTRUCTURE: u8 = 4;
