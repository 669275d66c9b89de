//! A registry in this process, and a client of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::SignedDuration;
use registry::tokens::{self, Tokens, Wish};
use registry::{Config, Scope, Server, Settings, Tls};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub const FLEET: &str = "saorsa";

/// A token of each scope.
#[derive(Clone)]
pub struct Keys {
    pub peer: String,
    pub operator: String,
    pub viewer: String,
}

impl Keys {
    pub fn make(file: &Path, fleet: &str) -> Self {
        let make = |scope| make_token(file, fleet, scope, None);
        Self {
            peer: make(Scope::Peer),
            operator: make(Scope::Operator),
            viewer: make(Scope::Viewer),
        }
    }
}

pub fn make_token(file: &Path, fleet: &str, scope: Scope, node: Option<&str>) -> String {
    let wish = Wish {
        name: "test",
        scope,
        fleet,
        node,
        replace_after: None::<SignedDuration>,
    };
    let made = tokens::add(file, &[wish]).unwrap();
    made[0].reveal().to_owned()
}

pub fn settings() -> Settings {
    Settings {
        public_read: false,
        trusted_proxies: Vec::new(),
        rate_per_address: 1e6,
        rate_per_token: 1e6,
        secure_cookies: false,
    }
}

/// Serves until dropped.
pub struct Registry {
    pub client: Client,
    pub tokens: std::path::PathBuf,
    stop: Option<Box<dyn FnOnce() + Send>>,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Self {
        Self::with(Duration::from_secs(30), settings())
    }

    pub fn with_ttl(ttl: Duration) -> Self {
        Self::with(ttl, settings())
    }

    pub fn with(ttl: Duration, settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens.json");
        let keys = Keys::make(&file, FLEET);
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tokens: Tokens::open(&file).unwrap(),
            data: Some(dir.path().join("data")),
            ttl,
            tls: Tls::LoopbackOnly,
            settings,
        };
        let server = Server::bind(config).unwrap();
        let client = Client::plain(&server.url(), keys);
        let stop: Box<dyn FnOnce() + Send> = Box::new(server.stopper());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(server.run()).unwrap();
        });
        Self {
            client,
            tokens: file,
            stop: Some(stop),
            thread: Some(thread),
            _dir: dir,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            stop();
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

pub struct Client {
    agent: ureq::Agent,
    pub url: String,
    pub keys: Keys,
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The status and the word for programs.
    pub fn error(&self) -> (u16, String) {
        let body = self.json();
        let message = body["message"].as_str().unwrap();
        assert!(!message.is_empty());
        (self.status, body["error"].as_str().unwrap().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Client {
    pub fn plain(url: &str, keys: Keys) -> Self {
        Self::new(url, keys, TlsConfig::builder().build())
    }

    /// Trusts the given certificate (PEM) and nothing else.
    pub fn pinned(url: &str, keys: Keys, cert: &[u8]) -> Self {
        let root = Certificate::from_pem(cert).unwrap();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&[root]))
            .build();
        Self::new(url, keys, tls)
    }

    fn new(url: &str, keys: Keys, tls: TlsConfig) -> Self {
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .new_agent();
        Self {
            agent,
            url: url.to_owned(),
            keys,
        }
    }

    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.try_get_as(Some(&self.keys.viewer), path)
    }

    pub fn get_as(&self, token: Option<&str>, path: &str) -> Answer {
        self.try_get_as(token, path).unwrap()
    }

    fn try_get_as(&self, token: Option<&str>, path: &str) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        read(request.call()?)
    }

    pub fn get_with(&self, header: (&str, &str), path: &str) -> Answer {
        let request = self.agent.get(format!("{}{path}", self.url));
        read(request.header(header.0, header.1).call().unwrap()).unwrap()
    }

    pub fn delete_as(&self, token: &str, path: &str) -> Answer {
        let request = self.agent.delete(format!("{}{path}", self.url));
        let request = request.header("Authorization", format!("Bearer {token}"));
        read(request.call().unwrap()).unwrap()
    }

    /// A form, with a cookie.
    pub fn submit(&self, path: &str, cookie: Option<&str>, form: &str) -> Answer {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("Content-Type", "application/x-www-form-urlencoded");
        if let Some(cookie) = cookie {
            request = request.header("Cookie", cookie);
        }
        read(request.send(form).unwrap()).unwrap()
    }

    pub fn publish(&self, run: &str, lines: &str) -> Answer {
        self.publish_as(&self.keys.operator, run, lines)
    }

    pub fn publish_as(&self, token: &str, run: &str, lines: &str) -> Answer {
        let path = format!("/api/runs/{run}/entries");
        self.post_as(Some(&format!("Bearer {token}")), &path, lines.as_bytes())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    /// `None` sends no authorization at all.
    pub fn post_as(&self, authorization: Option<&str>, path: &str, body: &[u8]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        read(request.send(body).unwrap()).unwrap()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let authorization = format!("Bearer {}", self.keys.peer);
        self.post_as(Some(&authorization), path, body.to_string().as_bytes())
    }

    /// Returns the peer's name.
    pub fn register(&self, node: &str, pid: u32) -> String {
        let answer = self.post("/api/register", &registration(node, pid));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["peer"].as_str().unwrap().to_owned()
    }

    pub fn heartbeat(&self, peer: &str, metrics: &Value) -> Answer {
        self.post("/api/heartbeat", &json!({"peer": peer, "metrics": metrics}))
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.body_mut().read_to_string()?,
    })
}

pub fn registration(node: &str, pid: u32) -> Value {
    json!({
        "project": "ant-quic",
        "node": node,
        "tester": "saorsa-quic-test",
        "stack_version": "0.27.61",
        "digest": "0123456789abcdef".repeat(4),
        "pid": pid,
        "local": "198.18.0.4:9000",
    })
}
