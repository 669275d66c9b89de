//! The official Rust client, connected to a program of its own over stdio.

use std::path::Path;
use std::time::Duration;

use model::protocol::{Failure, Reason};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, CallToolResult, ServerPeerInfo, Tool};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use serde_json::Value;

use crate::program;

/// For one request; the slowest that answers at all takes a second.
const LIMIT: Duration = Duration::from_secs(20);

pub struct Client {
    service: RunningService<RoleClient, ()>,
    _storage: tempfile::TempDir,
}

impl Client {
    /// Starts the program and shakes hands.
    ///
    /// The outer error says that nothing was learnt of the program.
    pub async fn start() -> Result<Result<Self, String>, Failure> {
        let storage = program::storage()?;
        let transport = spawn(storage.path())?;
        let served = tokio::time::timeout(LIMIT, ().serve(transport)).await;
        Ok(match served {
            Ok(Ok(service)) => Ok(Self {
                service,
                _storage: storage,
            }),
            Ok(Err(error)) => Err(format!("initialize: {error}")),
            Err(_) => Err(format!("initialize: no answer within {LIMIT:?}")),
        })
    }

    pub fn server(&self) -> Option<ServerPeerInfo> {
        self.service.peer_info().map(|info| (*info).clone())
    }

    pub async fn tools(&self) -> Result<Vec<Tool>, String> {
        match tokio::time::timeout(LIMIT, self.service.list_all_tools()).await {
            Ok(Ok(tools)) => Ok(tools),
            Ok(Err(error)) => Err(format!("tools/list: {error}")),
            Err(_) => Err(format!("tools/list: no answer within {LIMIT:?}")),
        }
    }

    /// What a tool says, as JSON where it is JSON.
    pub async fn call(&self, tool: &'static str, arguments: Value) -> Result<Value, String> {
        let mut params = CallToolRequestParams::new(tool);
        params.arguments = arguments.as_object().cloned();
        let called = tokio::time::timeout(LIMIT, self.service.call_tool(params)).await;
        let result = match called {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => return Err(format!("{tool}: {error}")),
            Err(_) => return Err(format!("{tool}: no answer within {LIMIT:?}")),
        };
        let said = text(&result);
        if result.is_error == Some(true) {
            return Err(format!("{tool}: {said}"));
        }
        Ok(serde_json::from_str(&said).unwrap_or(Value::String(said)))
    }

    pub async fn stop(self) {
        let _ = tokio::time::timeout(Duration::from_secs(5), self.service.cancel()).await;
    }
}

fn spawn(storage: &Path) -> Result<TokioChildProcess, Failure> {
    let command = program::command(storage, &[])?;
    let spawned = TokioChildProcess::builder(command)
        .stderr(std::process::Stdio::inherit())
        .spawn();
    let (process, _) = spawned.map_err(|e| {
        Failure::new(
            Reason::Infrastructure,
            format!("cannot start {}: {e}", program::NAME),
        )
    })?;
    Ok(process)
}

fn text(result: &CallToolResult) -> String {
    let pieces = result.content.iter().filter_map(|c| c.as_text());
    pieces
        .map(|t| t.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}
