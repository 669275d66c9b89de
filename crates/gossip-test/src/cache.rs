//! Nothing outlives a session.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where no directory can be made, as root either.
const NOWHERE: &str = "/proc/self/nowhere";

/// Starts this program again, in place, with a bootstrap cache that cannot be kept.
///
/// The gossip transport takes ant-quic's default cache: one file for all processes of
/// a host, under `TMPDIR`, which it has no setting for. Peers of earlier sessions,
/// dead by now, would be chosen as coordinators.
///
/// # Errors
/// Where this program cannot be executed; else it does not return, or had been
/// started so already.
pub fn forget_cache() -> std::io::Result<()> {
    if std::env::var_os("TMPDIR").is_some_and(|dir| dir == NOWHERE) {
        return Ok(());
    }
    Err(Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env("TMPDIR", NOWHERE)
        .exec())
}
