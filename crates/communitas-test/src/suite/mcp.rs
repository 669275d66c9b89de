//! The protocol as a well-behaved client meets it.

use std::time::Instant;

use agent::Notes;
use model::protocol::{Failure, Perform, Performed};
use rmcp::model::Tool;

use super::{number, performed};
use crate::client::Client;
use crate::program;

/// Start, shake hands, stop; again and again.
pub async fn handshake(call: &Perform) -> Result<Performed, Failure> {
    let mut notes = Notes::default();
    for _ in 0..number(call, "times", 7) {
        let began = Instant::now();
        let started = Client::start().await?;
        let took = agent::millis_since(began);
        let checked = started.and_then(|client| {
            let server = client.server().ok_or("initialize: no server info")?;
            check_server(&server)?;
            Ok(client)
        });
        if let Some(client) = notes.trial("handshakes", &[], checked) {
            notes.sample("handshake_ms", &[], took);
            client.stop().await;
        }
    }
    Ok(performed(notes))
}

fn check_server(server: &rmcp::model::ServerPeerInfo) -> Result<(), String> {
    let said = serde_json::to_value(server).map_err(|e| e.to_string())?;
    let name = said["serverInfo"]["name"].as_str().unwrap_or_default();
    if name != program::NAME {
        return Err(format!("initialize: serverInfo.name is `{name}`"));
    }
    if said["capabilities"]["tools"].is_null() {
        return Err(format!("initialize: no capability `tools` in {said}"));
    }
    Ok(())
}

/// Every tool that is listed, held against what the protocol asks of one.
pub async fn tools() -> Result<Performed, Failure> {
    let mut notes = Notes::default();
    let listed = match Client::start().await? {
        Ok(client) => {
            let tools = client.tools().await;
            client.stop().await;
            tools
        }
        Err(why) => Err(why),
    };
    match listed {
        Ok(tools) => {
            let mut names = std::collections::BTreeSet::new();
            for tool in &tools {
                let is_new = names.insert(tool.name.clone());
                notes.trial("tools_valid", &[], check_tool(tool, is_new));
            }
        }
        Err(why) => drop(notes.trial::<()>("tools_valid", &[], Err(why))),
    }
    Ok(performed(notes))
}

/// The client has parsed it into the protocol's types; the rest is said in words there.
fn check_tool(tool: &Tool, is_new: bool) -> Result<(), String> {
    let name = &tool.name;
    if name.is_empty() || !is_new {
        return Err(format!("the name `{name}` is not a tool's own"));
    }
    let schema = &tool.input_schema;
    if schema.get("type").and_then(|t| t.as_str()) != Some("object") {
        return Err(format!("{name}: inputSchema is not of type object"));
    }
    let properties = schema.get("properties").and_then(|p| p.as_object());
    let required = schema.get("required").and_then(|r| r.as_array());
    for word in required.into_iter().flatten() {
        let known = word
            .as_str()
            .is_some_and(|word| properties.is_some_and(|p| p.contains_key(word)));
        if !known {
            return Err(format!("{name}: {word} is required and no property"));
        }
    }
    Ok(())
}
