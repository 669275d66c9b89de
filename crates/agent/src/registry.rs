//! Registering with the registry and telling it that we are alive.
//!
//! One blocking thread of its own: a registry that is down, slow or wrong never
//! disturbs an attempt. It tries again for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::protocol::Hello;
use model::registration::{Heartbeat, Registered, Registration};
use tracing::{info, warn};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::cli::AgentArgs;

const HEARTBEAT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
const BACK_OFF_MOST: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("cannot read `{path}`: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("`{path}` holds no PEM certificate")]
    NoCertificate { path: String },
    #[error("`{path}` is empty: it must hold the registry's token")]
    NoToken { path: String },
    #[error("`{url}` needs --registry-ca: no other authority is believed")]
    NoAuthority { url: String },
}

/// Where the registry is and how to be believed by it.
pub(crate) struct Config {
    url: String,
    token_file: PathBuf,
    /// Empty for plain HTTP.
    roots: Vec<Certificate<'static>>,
}

impl Config {
    /// `None` where no registry was asked for.
    pub fn read(args: &AgentArgs) -> Result<Option<Self>, RegistryError> {
        let (Some(url), Some(token_file)) = (&args.registry, &args.token_file) else {
            return Ok(None);
        };
        let roots = match &args.registry_ca {
            Some(path) => read_roots(path)?,
            None if url.starts_with("https:") => {
                return Err(RegistryError::NoAuthority { url: url.clone() });
            }
            None => Vec::new(),
        };
        // A file that holds none is a mistake of whoever starts this.
        read_token(token_file)?;
        Ok(Some(Self {
            url: url.trim_end_matches('/').to_owned(),
            token_file: token_file.clone(),
            roots,
        }))
    }
}

fn read_token(path: &Path) -> Result<String, RegistryError> {
    let token = String::from_utf8_lossy(&read(path)?).trim().to_owned();
    if token.is_empty() {
        return Err(RegistryError::NoToken {
            path: path.display().to_string(),
        });
    }
    Ok(token)
}

fn read_roots(path: &Path) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let roots: Vec<_> = parse_pem(&read(path)?)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if roots.is_empty() {
        return Err(RegistryError::NoCertificate {
            path: path.display().to_string(),
        });
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<u8>, RegistryError> {
    std::fs::read(path).map_err(|source| RegistryError::Read {
        path: path.display().to_string(),
        source,
    })
}

pub(crate) fn registration(args: &AgentArgs, hello: &Hello) -> Registration {
    Registration {
        project: args.project.clone(),
        node: args.node.clone(),
        tester: hello.tester.clone(),
        stack_version: hello.stack_version.clone(),
        digest: hello.digest.clone(),
        pid: hello.pid,
        // Every attempt binds an address of its own.
        local: None,
    }
}

/// Registers and sends heartbeats until the process ends.
pub(crate) fn spawn(
    config: Config,
    registration: Registration,
    metrics: impl Fn() -> BTreeMap<String, f64> + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut client = Client::new(config);
        let mut back_off = BACK_OFF_FIRST;
        loop {
            match client.register(&registration) {
                Ok(registered) => {
                    info!("registered as {}", registered.peer);
                    back_off = BACK_OFF_FIRST;
                    client.beat_until_refused(&registered.peer, &metrics);
                    // It restarted, most likely, and may need a moment.
                    std::thread::sleep(BACK_OFF_FIRST);
                }
                Err(error) => {
                    // It may have been replaced while we were away.
                    client.read_token_again();
                    warn!(
                        "cannot register at {}: {error}; again in {back_off:?}",
                        client.url
                    );
                    std::thread::sleep(back_off);
                    back_off = (back_off * 2).min(BACK_OFF_MOST);
                }
            }
        }
    });
}

struct Client {
    http: ureq::Agent,
    url: String,
    token_file: PathBuf,
    authorization: String,
}

impl Client {
    fn new(config: Config) -> Self {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let roots = RootCerts::new_with_certs(&config.roots);
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(ring)
            .root_certs(roots)
            .build();
        let http = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build()
            .new_agent();
        let mut client = Self {
            http,
            url: config.url,
            token_file: config.token_file,
            authorization: String::new(),
        };
        client.read_token_again();
        client
    }

    /// Every deploy gives out new tokens, and the old ones end some time later.
    fn read_token_again(&mut self) {
        match read_token(&self.token_file) {
            Ok(token) => self.authorization = format!("Bearer {token}"),
            Err(error) => warn!("{error}; going on with the token from before"),
        }
    }

    fn register(&self, registration: &Registration) -> Result<Registered, ureq::Error> {
        self.post("/api/register", registration)?
            .body_mut()
            .read_json()
    }

    /// Returns when the registry does not know this peer or its token any more:
    /// time to register again.
    fn beat_until_refused(&self, peer: &str, metrics: impl Fn() -> BTreeMap<String, f64>) {
        let mut reachable = true;
        loop {
            let heartbeat = Heartbeat {
                peer: peer.to_owned(),
                metrics: metrics(),
                log: crate::log::take(),
            };
            let Err(error) = self.post("/api/heartbeat", &heartbeat) else {
                reachable = true;
                std::thread::sleep(HEARTBEAT);
                continue;
            };
            crate::log::put_back(heartbeat.log);
            if matches!(error, ureq::Error::StatusCode(401 | 403 | 404)) {
                return;
            }
            // Said once an outage, not every ten seconds.
            if reachable {
                warn!("heartbeat to {}: {error}", self.url);
                reachable = false;
            }
            std::thread::sleep(HEARTBEAT);
        }
    }

    fn post(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        self.http
            .post(format!("{}{path}", self.url))
            .header("Authorization", &self.authorization)
            .send_json(body)
    }
}

#[cfg(test)]
mod tests;
