//! What can go wrong on a host: always with node and command.

use model::inventory::NodeName;

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("{node} cannot be reached: {detail}; try by hand: {by_hand}")]
    Unreachable {
        node: NodeName,
        detail: String,
        by_hand: String,
    },
    #[error(
        "the host key of {node} has changed; if the host was reinstalled, remove the old key: {by_hand}"
    )]
    HostKeyChanged { node: NodeName, by_hand: String },
    #[error("{node}: `{command}` could not be run: {detail}")]
    Session {
        node: NodeName,
        command: String,
        detail: String,
    },
    #[error("{node}: `{command}` failed with status {status}: {stderr}")]
    Failed {
        node: NodeName,
        command: String,
        status: i32,
        stderr: String,
    },
    #[error("{node}: `{command}` did not end within {seconds} s")]
    Timeout {
        node: NodeName,
        command: String,
        seconds: u64,
    },
    #[error(
        "{node}: no room for {needed} bytes in `{path}`, {free} are free; delete something or choose another deploy.install_path"
    )]
    DiskFull {
        node: NodeName,
        path: String,
        needed: u64,
        free: u64,
    },
    #[error("{node}: `{path}` arrived with digest {found} instead of {expected}")]
    Digest {
        node: NodeName,
        path: String,
        expected: String,
        found: String,
    },
    #[error(
        "{node}: service {unit} did not start, nor when it was started once more\n{because}\nits last words:\n{log}\n`vps-test diagnose {node}` says more"
    )]
    ServiceDied {
        node: NodeName,
        unit: String,
        /// What a look at the host concluded, and the remedy.
        because: String,
        log: String,
    },
    #[error("{node}: service {unit} runs {found}, not {expected}")]
    StaleService {
        node: NodeName,
        unit: String,
        expected: String,
        found: String,
    },
}

impl FleetError {
    /// A command that failed for want of room says so.
    pub(crate) fn or_full(self, path: &str, needed: u64) -> Self {
        match self {
            Self::Failed { node, stderr, .. } if stderr.contains("No space left on device") => {
                Self::DiskFull {
                    node,
                    path: path.into(),
                    needed,
                    free: 0,
                }
            }
            other => other,
        }
    }
}
