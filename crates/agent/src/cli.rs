//! The command line that every tester has; systemd units are written with it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::tester::Description;

#[derive(Debug, Parser)]
#[command(about = "A P2P stack behind the vps-test agent protocol")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub role: Role,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Serve the agent protocol on a Unix socket.
    Agent(AgentArgs),
    /// Be a public coordinator.
    Coordinator(CoordinatorArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct AgentArgs {
    /// The name of this node in the inventory.
    #[arg(long)]
    pub node: String,
    #[arg(long)]
    pub project: String,
    /// Where to listen; an old socket of this name is replaced.
    #[arg(long)]
    pub socket: PathBuf,
    /// Register there: `https://HOST:PORT`.
    #[arg(long, requires = "token_file")]
    pub registry: Option<String>,
    /// The certificate (PEM) that the registry must show or be signed by.
    #[arg(long, requires = "registry")]
    pub registry_ca: Option<PathBuf>,
    /// A file that holds the registry's token.
    #[arg(long, requires = "registry")]
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CoordinatorArgs {
    /// The public address to serve on.
    #[arg(long)]
    pub bind: SocketAddr,
    /// Another coordinator that this one works with.
    #[arg(long)]
    pub partner: Vec<SocketAddr>,
}

impl Cli {
    /// Reads the process's arguments; help, version and mistakes end the process.
    pub fn read(description: &Description) -> Self {
        let matches = command(description).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

fn command(description: &Description) -> clap::Command {
    let version = format!(
        "{} (stack {} {})",
        description.version, description.stack, description.stack_version
    );
    Cli::command().name(description.tester).version(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            tester: "saorsa-quic-test",
            version: "0.1.0",
            stack: "ant-quic",
            stack_version: "0.27.61".into(),
            capabilities: vec![],
            rungs: vec![],
            log_filter: "",
        }
    }

    #[test]
    fn version_names_the_stack() {
        assert_eq!(
            command(&description()).render_version(),
            "saorsa-quic-test 0.1.0 (stack ant-quic 0.27.61)\n"
        );
    }

    #[test]
    fn the_units_command_lines_parse() {
        let lines = [
            "t agent --node a --project p --socket /run/s",
            "t agent --node a --project p --socket /run/s --registry https://r:1 --registry-ca c --token-file t",
            "t coordinator --bind 198.18.0.1:9000 --partner 198.18.0.2:9000 --partner 198.18.0.3:9000",
        ];
        for line in lines {
            let parsed = command(&description()).try_get_matches_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }

    #[test]
    fn a_registry_needs_a_token() {
        let line = "t agent --node a --project p --socket /run/s --registry https://r:1";
        let error = command(&description())
            .try_get_matches_from(line.split(' '))
            .unwrap_err();
        assert!(error.to_string().contains("--token-file"), "{error}");
    }
}
