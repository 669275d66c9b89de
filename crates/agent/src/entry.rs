//! From the command line to a running tester, and down again on SIGTERM.

use std::process::ExitCode;
use std::sync::Arc;

use model::protocol::{Hello, VERSION};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::cli::{AgentArgs, Cli, CoordinatorArgs, Role};
use crate::digest;
use crate::registry;
use crate::server::Server;
use crate::tester::{Description, Tester};

/// Runs a tester as its command line says. Call it from `main` and return its value.
pub fn main(tester: impl Tester) -> ExitCode {
    let description = tester.describe();
    let cli = Cli::read(&description);
    log_to_stderr(description.log_filter);
    match run(tester, cli.role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    #[error("cannot read the running executable: {0}")]
    Digest(std::io::Error),
    #[error("cannot listen on `{path}`: {source}")]
    Listen {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Registry(#[from] registry::RegistryError),
    #[error("coordinator: {0}")]
    Coordinator(model::protocol::Failure),
}

/// journald takes stderr and adds the time itself.
fn log_to_stderr(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| format!("warn,agent=info,{default}").into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| crate::log::Tee)
        .with_ansi(false)
        .without_time()
        .init();
}

fn run(tester: impl Tester, role: Role) -> Result<(), EntryError> {
    let runtime = tokio::runtime::Runtime::new().map_err(EntryError::Runtime)?;
    let outcome = runtime.block_on(async {
        match role {
            Role::Agent(args) => serve(tester, args).await,
            Role::Coordinator(args) => coordinate(tester, args).await,
        }
    });
    // A stack's own blocking thread must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn serve(tester: impl Tester, args: AgentArgs) -> Result<(), EntryError> {
    let digest = digest::of_running_executable().map_err(EntryError::Digest)?;
    let hello = hello(&tester.describe(), &args, digest);
    let server =
        Server::bind(tester, hello.clone(), &args.socket).map_err(|source| EntryError::Listen {
            path: args.socket.display().to_string(),
            source,
        })?;
    info!(
        "{} of {} listens on {}",
        hello.tester,
        hello.node,
        args.socket.display()
    );
    if let Some(config) = registry::Config::read(&args)? {
        let server = Arc::clone(&server);
        registry::spawn(config, registry::registration(&args, &hello), move || {
            server.metrics()
        });
    }
    server.run_until(terminated()).await;
    info!("ended in good order");
    Ok(())
}

async fn coordinate(tester: impl Tester, args: CoordinatorArgs) -> Result<(), EntryError> {
    info!("coordinator on {} with {:?}", args.bind, args.partner);
    tokio::select! {
        ended = tester.coordinate(args.bind, args.partner) => ended.map_err(EntryError::Coordinator),
        () = terminated() => Ok(()),
    }
}

fn hello(description: &Description, args: &AgentArgs, digest: String) -> Hello {
    Hello {
        protocol: VERSION,
        tester: description.tester.into(),
        stack: description.stack.into(),
        stack_version: description.stack_version.clone(),
        node: args.node.clone(),
        pid: std::process::id(),
        digest,
        capabilities: description.capabilities.clone(),
        rungs: description.rungs.clone(),
    }
}

/// SIGTERM or SIGINT.
async fn terminated() {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        error!("cannot listen for signals; only SIGKILL will end this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
