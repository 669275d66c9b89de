//! Debian's Prometheus with this repository's configuration, on the real registry.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Running, wait_for};

pub struct Prometheus {
    url: String,
    _server: Running,
    _dir: tempfile::TempDir,
}

pub fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring")
}

impl Prometheus {
    /// Scrapes `127.0.0.1:port`, which shows this certificate for that name.
    pub fn start(port: u16, name: &str, certificate: &str, token: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("ca.pem"), certificate).unwrap();
        std::fs::write(file("token"), token).unwrap();
        std::fs::copy(monitoring().join("alerts.yml"), file("alerts.yml")).unwrap();
        let config = std::fs::read_to_string(monitoring().join("prometheus.yml")).unwrap();
        let ca = format!("{}, server_name: {name}", file("ca.pem").display());
        let config = config
            .replace(
                "/run/secrets/registry-token",
                file("token").to_str().unwrap(),
            )
            .replace("/run/secrets/registry-ca.pem", &ca)
            .replace("saorsa-1.saorsalabs.com:443", &format!("127.0.0.1:{port}"))
            .replace("scrape_interval: 15s", "scrape_interval: 1s");
        std::fs::write(file("prometheus.yml"), config).unwrap();
        check(&file("prometheus.yml"));
        let listen = free_port();
        let server = Running::start(
            Command::new("prometheus")
                .arg(format!(
                    "--config.file={}",
                    file("prometheus.yml").display()
                ))
                .arg(format!("--storage.tsdb.path={}", file("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{listen}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        Self {
            url: format!("http://127.0.0.1:{listen}"),
            _server: server,
            _dir: dir,
        }
    }

    pub fn ask(&self, path: &str) -> Option<Value> {
        let mut answer = ureq::get(format!("{}{path}", self.url)).call().ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    }

    pub fn is_up(&self) -> bool {
        let answer = self.ask("/api/v1/query?query=up");
        answer.is_some_and(|answer| answer["data"]["result"][0]["value"][1] == "1")
    }

    /// Every metric that was ever scraped.
    pub fn names(&self) -> BTreeSet<String> {
        let answer = self
            .ask("/api/v1/label/__name__/values")
            .unwrap_or_default();
        let names = answer["data"].as_array().cloned().unwrap_or_default();
        names
            .iter()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect()
    }

    /// Waits until all that panels and alerts name is there.
    pub fn expect_all_named(&self) {
        let named = named();
        assert!(named.len() > 15, "{named:?}");
        let missing = || -> Vec<String> { named.difference(&self.names()).cloned().collect() };
        wait_for(
            &format!("metrics that panels or alerts name: {:?}", missing()),
            Duration::from_secs(60),
            || missing().is_empty().then_some(()),
        );
        let rules = self.ask("/api/v1/rules").unwrap();
        let groups = rules["data"]["groups"].as_array().unwrap();
        for rule in groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap())
        {
            assert_ne!(rule["health"], "err", "{rule}");
        }
    }
}

fn check(config: &Path) {
    let done = Command::new("promtool")
        .args(["check", "config"])
        .arg(config)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Metrics that a panel or an alert names.
fn named() -> BTreeSet<String> {
    [
        "alerts.yml",
        "grafana/dashboards/runs.json",
        "grafana/dashboards/peers.json",
    ]
    .iter()
    .flat_map(|file| {
        let text = std::fs::read_to_string(monitoring().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .filter(|word| word.starts_with("vps_test_"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    })
    .collect()
}
