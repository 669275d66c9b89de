//! The registry as the engine asks it: from its own host, over the session that is
//! there, as nothing else need be able to reach it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleet::{FleetError, Host};
use model::inventory::NodeName;
use model::registration::{Peer, Peers};

use crate::deployment::{REGISTRY_CA, REGISTRY_TOKENS};
use crate::settings::Settings;

const COMMAND: Duration = Duration::from_secs(30);

/// How long replaced tokens go on: a tester of another project takes its new one
/// when it is refused.
const REPLACE_AFTER: &str = "3600";

/// A registry that runs, and how to be believed by it.
pub struct Registry {
    pub host: Arc<Host>,
    program: String,
    url: String,
    /// An operator's; it is never on a command line and in no log.
    token: String,
}

impl Registry {
    /// Nobody yet; see [`Registry::log_in`].
    pub fn open(host: Arc<Host>, program: String, url: String) -> Self {
        Self {
            host,
            program,
            url,
            token: String::new(),
        }
    }

    /// As an operator of this fleet. Whoever is root on its host may be one. A new
    /// token ends the ones before of the same `purpose`.
    pub async fn log_in(self, settings: &Settings, purpose: &str) -> Result<Self, FleetError> {
        let name = format!("{purpose}-{}", settings.project);
        let words = self.add_token(settings, "operator", &name);
        let said = self.host.run(&as_words(&words), COMMAND).await?;
        let token = said.trim().to_owned();
        crate::redact::learn(&token);
        Ok(Self { token, ..self })
    }

    fn add_token(&self, settings: &Settings, scope: &str, name: &str) -> Vec<String> {
        [
            self.program.as_str(),
            "token",
            "add",
            "--tokens",
            REGISTRY_TOKENS,
            "--fleet",
            &settings.fleet.name,
            "--scope",
            scope,
            "--name",
            name,
            "--replace-after",
            REPLACE_AFTER,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// What it answers to `GET path`.
    pub async fn get(&self, path: &str) -> Result<String, FleetError> {
        self.ask("get", path, "").await
    }

    /// What it answers to `POST path`.
    pub async fn post(&self, path: &str, body: &str) -> Result<String, FleetError> {
        self.ask("post", path, body).await
    }

    async fn ask(&self, verb: &str, path: &str, body: &str) -> Result<String, FleetError> {
        let words = [
            &self.program,
            verb,
            path,
            "--url",
            &self.url,
            "--ca",
            REGISTRY_CA,
            "--token-file",
            "-",
        ];
        let quoted: Vec<String> = words.iter().map(|word| fleet::quote(word)).collect();
        let stdin = format!("{}\n{body}", self.token);
        self.host
            .script_ok(&quoted.join(" "), Some(stdin.as_bytes()), COMMAND)
            .await
    }

    /// All of them, page by page.
    pub async fn peers(&self) -> Result<Vec<Peer>, String> {
        let mut all = Vec::new();
        let mut path = "/api/peers".to_owned();
        loop {
            let text = self.get(&path).await.map_err(|e| e.to_string())?;
            let page: Peers = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            all.extend(page.peers);
            match page.next {
                Some(next) => path = format!("/api/peers?after={next}"),
                None => return Ok(all),
            }
        }
    }
}

/// A new token for the peers of each node.
pub async fn peer_tokens(
    registry: &Registry,
    settings: &Settings,
    nodes: &[NodeName],
) -> Result<BTreeMap<NodeName, String>, FleetError> {
    let mut words = registry.add_token(settings, "peer", "peers");
    for node in nodes {
        words.extend(["--node".to_owned(), node.to_string()]);
    }
    let said = registry.host.run(&as_words(&words), COMMAND).await?;
    Ok(said
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(node, token)| (NodeName::new(node), token.trim().to_owned()))
        .collect())
}

fn as_words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
