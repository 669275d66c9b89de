//! A registry in this process, and a client of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use registry::{Config, Server, Tls, Token};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Serves until dropped.
pub struct Registry {
    pub client: Client,
    stop: Option<Box<dyn FnOnce() + Send>>,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Self {
        Self::with_ttl(Duration::from_secs(30))
    }

    pub fn with_ttl(ttl: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        Token::create(&file).unwrap();
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: Token::read(&file).unwrap(),
            ttl,
            tls: Tls::LoopbackOnly,
        };
        let server = Server::bind(config).unwrap();
        let client = Client::plain(&server.url(), &read_token(&file));
        let stop: Box<dyn FnOnce() + Send> = Box::new(server.stopper());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(server.run()).unwrap();
        });
        Self {
            client,
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

pub fn read_token(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

pub struct Client {
    agent: ureq::Agent,
    url: String,
    authorization: String,
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
    pub fn plain(url: &str, token: &str) -> Self {
        Self::new(url, token, TlsConfig::builder().build())
    }

    /// Trusts the given certificate (PEM) and nothing else.
    pub fn pinned(url: &str, token: &str, cert: &[u8]) -> Self {
        let root = Certificate::from_pem(cert).unwrap();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&[root]))
            .build();
        Self::new(url, token, tls)
    }

    fn new(url: &str, token: &str, tls: TlsConfig) -> Self {
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .new_agent();
        Self {
            agent,
            url: url.to_owned(),
            authorization: format!("Bearer {token}"),
        }
    }

    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let response = self.agent.get(format!("{}{path}", self.url)).call()?;
        read(response)
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
        self.post_as(Some(&self.authorization), path, body.to_string().as_bytes())
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
