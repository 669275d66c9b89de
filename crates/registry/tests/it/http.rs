//! The API, in process, over plain HTTP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use registry::tokens::Tokens;
use registry::{Config, Scope, ServeError, Server, Tls};
use serde_json::json;

use crate::client::{FLEET, Keys, Registry, make_token, registration, settings};

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
fn each_route_asks_for_its_scope() {
    let registry = Registry::start();
    let client = &registry.client;
    let Keys {
        peer,
        operator,
        viewer,
    } = &client.keys;
    let body = registration("a", 1).to_string();
    let register = |token: &str| {
        let authorization = format!("Bearer {token}");
        let answer = client.post_as(Some(&authorization), "/api/register", body.as_bytes());
        answer.status
    };
    let read = |token: &str| client.get_as(Some(token), "/api/peers").status;
    let publish = |token: &str| client.publish_as(token, "p/t", "").status;
    assert_eq!(
        [peer, operator, viewer].map(|t| register(t)),
        [200, 403, 403]
    );
    assert_eq!([peer, operator, viewer].map(|t| read(t)), [403, 200, 200]);
    assert_eq!(
        [peer, operator, viewer].map(|t| publish(t)),
        [403, 200, 403]
    );
    for path in [
        "/api/peers",
        "/api/runs",
        "/api/events",
        "/api/metrics",
        "/metrics",
    ] {
        assert_eq!(
            client.get_as(None, path).error(),
            (401, "unauthorized".into())
        );
    }
    for wrong in [
        format!("{viewer}0"),
        "wrong".into(),
        viewer.replace("vpt_", ""),
    ] {
        let answer = client.get_as(Some(&wrong), "/api/peers");
        assert_eq!(answer.error(), (401, "unauthorized".into()), "{wrong}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let basic = client.get_with(("Authorization", &format!("Basic {viewer}")), "/api/peers");
    assert_eq!(basic.status, 401);
    for path in ["/health", "/api/openapi.json"] {
        assert_eq!(client.get_as(None, path).status, 200);
    }
}

#[test]
fn a_token_is_for_its_node_and_its_fleet() {
    let registry = Registry::start();
    let client = &registry.client;
    let bound = make_token(&registry.tokens, FLEET, Scope::Peer, Some("a"));
    let write = |node: &str| {
        let body = registration(node, 1).to_string();
        let authorization = format!("Bearer {bound}");
        client.post_as(Some(&authorization), "/api/register", body.as_bytes())
    };
    assert_eq!(write("a").status, 200);
    assert_eq!(write("b").error(), (403, "foreign_peer".into()));
    let other = Keys::make(&registry.tokens, "other");
    let listed = client.get_as(Some(&other.viewer), "/api/peers").json();
    assert_eq!(listed["peers"], json!([]));
}

#[test]
fn a_revoked_token_ends_without_a_restart() {
    let registry = Registry::start();
    let client = &registry.client;
    let token = make_token(&registry.tokens, FLEET, Scope::Viewer, None);
    assert_eq!(client.get_as(Some(&token), "/api/peers").status, 200);
    registry::tokens::revoke(&registry.tokens, "test").unwrap();
    wait_until(|| client.get_as(Some(&token), "/api/peers").status == 401);
}

#[test]
fn whoever_asks_too_often_is_told_when_to_come_back() {
    let mut limited = settings();
    limited.rate_per_token = 1.0;
    let registry = Registry::with(Duration::from_secs(30), limited);
    let client = &registry.client;
    let answers: Vec<_> = (0..6).map(|_| client.get("/api/peers")).collect();
    let refused = answers.last().unwrap();
    assert_eq!(answers[0].status, 200);
    assert_eq!(refused.error(), (429, "too_many_requests".into()));
    assert_eq!(refused.header("retry-after"), "1");
    // Another token still has its own.
    let operator = Some(client.keys.operator.as_str());
    assert_eq!(client.get_as(operator, "/api/peers").status, 200);
}

#[test]
fn guessing_slows_down() {
    let registry = Registry::start();
    let client = &registry.client;
    let guess = || client.get_as(Some("vpt_guess"), "/api/peers").status;
    let statuses: Vec<u16> = (0..30).map(|_| guess()).collect();
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses[29], 429);
    // A header does not make another address of it.
    let header = ("X-Forwarded-For", "198.51.100.7");
    assert_eq!(client.get_with(header, "/health").status, 200);
}

#[test]
fn bad_bodies_are_refused_with_a_reason() {
    let registry = Registry::start();
    let client = &registry.client;
    let authorization = format!("Bearer {}", client.keys.peer);
    let post = |body: &[u8]| client.post_as(Some(&authorization), "/api/register", body);
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

pub fn wait_until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited too long");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn pages_come_under_a_strict_policy_and_nothing_from_peers_breaks_them() {
    let registry = Registry::start();
    let client = &registry.client;
    client.register("saorsa-4", 17);
    let page = client.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text.contains("saorsa-4"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self';"));
    assert!(!policy.contains("unsafe"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    for (path, kind) in [("/style.css", "text/css"), ("/live.js", "text/javascript")] {
        let asset = client.get_as(None, path);
        assert!(asset.header("content-type").starts_with(kind));
        let tag = asset.header("etag").to_owned();
        assert_eq!(client.get_with(("If-None-Match", &tag), path).status, 304);
    }
}

#[test]
fn a_person_logs_in_with_a_token_and_out_with_the_pages_own_form() {
    let registry = Registry::start();
    let client = &registry.client;
    let away = client.get_as(None, "/runs");
    assert_eq!(
        (away.status, away.header("location")),
        (303, "/login?next=/runs")
    );
    assert_eq!(client.submit("/login", None, "token=wrong").status, 401);
    let peers = format!("token={}", client.keys.peer);
    assert_eq!(client.submit("/login", None, &peers).status, 401);

    let form = format!("token={}&next=%2Fruns", client.keys.viewer);
    let entered = client.submit("/login", None, &form);
    assert_eq!((entered.status, entered.header("location")), (303, "/runs"));
    let cookie = entered.header("set-cookie").to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(&client.keys.viewer));
    let cookie = cookie.split(';').next().unwrap();
    let page = client.get_with(("Cookie", cookie), "/");
    assert_eq!(page.status, 200);
    let csrf = page.text.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let csrf = csrf.split('"').next().unwrap();

    let foreign = client.submit("/logout", Some(cookie), "csrf=guess");
    assert_eq!(foreign.error(), (403, "foreign_form".into()));
    let left = client.submit("/logout", Some(cookie), &format!("csrf={csrf}"));
    assert_eq!(left.status, 303);
    assert_eq!(client.get_with(("Cookie", cookie), "/").status, 303);
}

#[test]
fn anybody_reads_where_the_operator_says_so_and_nobody_writes() {
    let mut open = settings();
    open.public_read = true;
    let registry = Registry::with(Duration::from_secs(30), open);
    let client = &registry.client;
    assert_eq!(client.get_as(None, "/").status, 200);
    assert_eq!(client.get_as(None, "/api/peers").status, 200);
    let body = registration("a", 1).to_string();
    assert_eq!(
        client
            .post_as(None, "/api/register", body.as_bytes())
            .status,
        401
    );
}

#[test]
fn plain_http_is_refused_off_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.json");
    Keys::make(&file, FLEET);
    let config = |tls| Config {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        tokens: Tokens::open(&file).unwrap(),
        data: None,
        ttl: Duration::from_secs(30),
        tls,
        settings: settings(),
    };
    let refused = Server::bind(config(Tls::LoopbackOnly)).map(|_| ());
    assert!(matches!(refused, Err(ServeError::PlainHttp(_))));
    assert!(Server::bind(config(Tls::Plain)).is_ok());
}
