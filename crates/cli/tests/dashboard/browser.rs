//! Headless Chromium over WebDriver (W3C), as much of it as a page needs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{Running, wait_for};

pub struct Browser {
    agent: ureq::Agent,
    session: String,
    _driver: Running,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let mut driver = Running::start(
            Command::new("chromedriver")
                .arg("--port=0")
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let line = driver.line_with("successfully on port ");
        let port: String = line
            .rsplit("on port ")
            .next()
            .unwrap()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(120)))
            .http_status_as_error(false)
            .build()
            .new_agent();
        let profile = tempfile::tempdir().unwrap();
        let base = format!("http://127.0.0.1:{port}/session");
        let answer = send(&agent, &base, &capabilities(profile.path()));
        let id = answer["sessionId"].as_str().unwrap();
        Self {
            session: format!("{base}/{id}"),
            agent,
            _driver: driver,
            _profile: profile,
        }
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        send(&self.agent, &format!("{}/{what}", self.session), body)
    }

    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What a function's body returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": []}))
    }

    /// What it calls its last argument with.
    pub fn run_async(&self, script: &str) -> Value {
        self.post("execute/async", &json!({"script": script, "args": []}))
    }

    pub fn until(&self, what: &str, limit: Duration, condition: &str) {
        wait_for(what, limit, || {
            (self.run(&format!("return Boolean({condition})")) == true).then_some(())
        });
    }

    pub fn cdp(&self, command: &str, params: &Value) {
        self.post(
            "goog/cdp/execute",
            &json!({"cmd": command, "params": params}),
        );
    }

    /// Lines of the console since last asked that are errors.
    pub fn console_errors(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({"type": "browser"}));
        let lines = log.as_array().unwrap().iter();
        lines
            .filter(|line| line["level"] == "SEVERE")
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// So wide, dark or light, the whole page.
    pub fn screenshot(&self, width: u32, scheme: &str, file: &Path) {
        self.look(width, scheme);
        let height = self.run("return Math.min(2600, document.documentElement.scrollHeight)");
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.cdp("Emulation.setDeviceMetricsOverride", &metrics);
        let answer = read(
            self.agent
                .get(format!("{}/screenshot", self.session))
                .call(),
        );
        let png = decode(answer["value"].as_str().unwrap());
        std::fs::write(file, png).unwrap();
    }

    pub fn look(&self, width: u32, scheme: &str) {
        let metrics =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.cdp("Emulation.setDeviceMetricsOverride", &metrics);
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.cdp("Emulation.setEmulatedMedia", &media);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
    }
}

fn capabilities(profile: &Path) -> Value {
    let profile = format!("--user-data-dir={}", profile.display());
    json!({"capabilities": {"alwaysMatch": {
        "browserName": "chrome",
        // The twin's registry signs its own certificate.
        "acceptInsecureCerts": true,
        "goog:loggingPrefs": {"browser": "ALL"},
        "goog:chromeOptions": {"args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            profile,
        ]},
    }}})
}

fn send(agent: &ureq::Agent, url: &str, body: &Value) -> Value {
    let request = agent.post(url).header("Content-Type", "application/json");
    let answer = read(request.send(body.to_string()));
    assert!(
        answer["value"]["error"].is_null(),
        "{url}: {}",
        answer["value"]
    );
    answer["value"].clone()
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let text = answer
        .unwrap()
        .body_mut()
        .with_config()
        .limit(64 * 1024 * 1024)
        .read_to_string()
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Base64, as WebDriver sends pictures.
fn decode(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let bytes: Vec<u8> = text.bytes().filter(|c| *c != b'=').collect();
    let mut out = Vec::new();
    for four in bytes.chunks(4) {
        let bits = four.iter().fold(0, |bits, c| bits << 6 | value(*c)) << (6 * (4 - four.len()));
        let all = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
        out.extend_from_slice(&all[..four.len() - 1]);
    }
    out
}
