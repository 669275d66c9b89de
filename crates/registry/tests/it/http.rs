//! The API, in process, over plain HTTP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use registry::{Config, ServeError, Server, Tls, Token};
use serde_json::json;

use crate::client::{Registry, registration};

#[test]
fn a_peer_registers_beats_and_is_listed() {
    let registry = Registry::start();
    let client = &registry.client;
    let answer = client.post("/api/register", &registration("saorsa-4", 17));
    assert_eq!(answer.json()["ttl_seconds"], 30);
    let name = answer.json()["peer"].as_str().unwrap().to_owned();
    assert_eq!(name, "ant-quic/saorsa-4/saorsa-quic-test/17");
    assert_eq!(
        client
            .heartbeat(&name, &json!({"attempts_total": 3}))
            .status,
        200
    );

    let listed = client.get("/api/peers").json();
    let peer = &listed["peers"][0];
    assert_eq!(peer["peer"], name.as_str());
    assert_eq!(peer["node"], "saorsa-4");
    assert_eq!(peer["alive"], true);
    assert_eq!(peer["metrics"]["attempts_total"], 3.0);
    assert_eq!(peer["local"], "198.18.0.4:9000");
    let metrics = client.get("/api/metrics").json();
    assert_eq!(metrics["peers"][0]["metrics"]["attempts_total"], 3.0);
    assert_eq!(metrics["registry"]["peers_alive"], 1);
}

#[test]
fn peers_are_filtered() {
    let registry = Registry::start();
    let client = &registry.client;
    client.register("a", 1);
    client.register("a", 2);
    client.register("b", 1);
    let count = |query: &str| {
        let listed = client.get(&format!("/api/peers{query}")).json();
        listed["peers"].as_array().unwrap().len()
    };
    assert_eq!(count(""), 3);
    assert_eq!(count("?node=a"), 2);
    assert_eq!(count("?project=ant-quic&node=b&alive=true"), 1);
    assert_eq!(count("?project=other"), 0);
    assert_eq!(count("?alive=false"), 0);
    for bad in ["?alive=maybe", "?nod=a"] {
        let answer = client.get(&format!("/api/peers{bad}"));
        assert_eq!(answer.error(), (400, "invalid_query".into()));
    }
}

#[test]
fn health_is_ok() {
    let registry = Registry::start();
    let answer = registry.client.get("/health");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["status"], "OK");
    assert_eq!(answer.json()["peers_alive"], 0);
}

#[test]
fn every_write_needs_the_token() {
    let registry = Registry::start();
    let client = &registry.client;
    let body = registration("a", 1).to_string();
    let longer = format!("{}0", client.authorization());
    let basic = client.authorization().replace("Bearer", "Basic");
    for wrong in [
        None,
        Some("Bearer wrong"),
        Some("Bearer "),
        Some(&*longer),
        Some(&*basic),
    ] {
        for path in ["/api/register", "/api/heartbeat"] {
            let answer = client.post_as(wrong, path, body.as_bytes());
            assert_eq!(answer.error(), (401, "unauthorized".into()), "{wrong:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    assert_eq!(client.get("/api/peers").json()["peers"], json!([]));
}

#[test]
fn bad_bodies_are_refused_with_a_reason() {
    let registry = Registry::start();
    let client = &registry.client;
    let post = |body: &[u8]| client.post_as(Some(client.authorization()), "/api/register", body);
    assert_eq!(
        post(b"{\"project\":").error(),
        (400, "malformed_json".into())
    );
    assert_eq!(post(b"").error(), (400, "malformed_json".into()));
    assert_eq!(post(b"\xff\xfe").error(), (400, "malformed_json".into()));
    assert_eq!(post(b"{}").error(), (422, "invalid_field".into()));
    assert_eq!(post(b"[1]").error(), (422, "invalid_field".into()));

    let mut hostile = registration("a", 1);
    hostile["node"] = json!("<script>");
    let answer = client.post("/api/register", &hostile);
    assert_eq!(answer.error(), (422, "invalid_field".into()));
    assert!(answer.text.contains("`node`"), "{}", answer.text);
}

#[test]
fn an_oversize_body_is_refused() {
    let registry = Registry::start();
    let client = &registry.client;
    let mut large = registration("a", 1);
    large["stack_version"] = json!("x".repeat(64 * 1024));
    let answer = client.post("/api/register", &large);
    assert_eq!(answer.error(), (413, "body_too_large".into()));
}

#[test]
fn an_unknown_peer_is_told_to_register() {
    let registry = Registry::start();
    let answer = registry.client.heartbeat("nobody", &json!({}));
    assert_eq!(answer.error(), (404, "unknown_peer".into()));
    assert!(answer.text.contains("register again"));
}

#[test]
fn wrong_paths_and_methods_answer_in_json() {
    let registry = Registry::start();
    let client = &registry.client;
    assert_eq!(client.get("/nothing").error(), (404, "not_found".into()));
    let answer = client.post("/api/peers", &json!({}));
    assert_eq!(answer.error(), (405, "method_not_allowed".into()));
}

#[test]
fn a_silent_peer_expires_and_a_heartbeat_revives_it() {
    let registry = Registry::with_ttl(Duration::from_millis(400));
    let client = &registry.client;
    let name = client.register("a", 1);
    let alive = || client.get("/api/peers").json()["peers"][0]["alive"].clone();
    assert_eq!(alive(), true);
    wait_until(|| alive() == false);
    assert_eq!(client.get("/health").json()["peers_known"], 1);
    assert_eq!(client.heartbeat(&name, &json!({})).status, 200);
    assert_eq!(alive(), true);
    // Ten times its time to live later nobody asks for it any more.
    wait_until(|| client.get("/api/peers").json()["peers"] == json!([]));
    assert_eq!(client.heartbeat(&name, &json!({})).status, 404);
}

fn wait_until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited too long");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_overview_shows_peers_under_a_strict_policy() {
    let registry = Registry::start();
    let client = &registry.client;
    client.register("saorsa-4", 17);
    let page = client.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text.contains("saorsa-4"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"));
    assert!(!policy.contains("unsafe"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let style = client.get("/style.css");
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.text.contains(".peers") || style.text.contains("table"));
}

#[test]
fn plain_http_is_refused_off_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    Token::create(&file).unwrap();
    let config = |tls| Config {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        token: Token::read(&file).unwrap(),
        ttl: Duration::from_secs(30),
        tls,
    };
    let refused = Server::bind(config(Tls::LoopbackOnly)).map(|_| ());
    assert!(matches!(refused, Err(ServeError::PlainHttp(_))));
    assert!(Server::bind(config(Tls::Plain)).is_ok());
}
