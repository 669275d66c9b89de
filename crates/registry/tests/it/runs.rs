//! Runs: published, read, kept over a `kill -9`.

use std::io::{BufRead as _, BufReader};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use registry::Scope;
use serde_json::json;

use crate::binary::Binary;
use crate::client::{Client, FLEET, Keys, Registry, make_token};
use crate::journal::{lines, text};

const RUN: &str = "ant-quic/20250110T143000Z";

#[test]
fn a_published_run_is_listed_judged_and_paged() {
    let registry = Registry::start();
    let client = &registry.client;
    let journal = lines("ant-quic", FLEET, 80);
    let answer = client.publish(RUN, &text(&journal));
    assert_eq!(answer.json()["next_seq"], journal.len(), "{}", answer.text);

    let listed = client.get("/api/runs").json();
    let run = &listed["runs"][0];
    assert_eq!(run["run"], RUN);
    assert_eq!(run["state"], "COMPLETE");
    assert_eq!(run["standing"], "PASS");
    assert_eq!(run["criteria"][0]["successes"], 80);
    let proof = client.get(&format!("/api/runs/{RUN}")).json();
    assert_eq!(proof["verdict"], "PASS");
    let matrix = client.get("/api/matrix").json();
    assert_eq!(matrix["run"], RUN);
    let cells = matrix["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2);
    assert_eq!(cells[0]["observed"], "direct");

    let first = client.get("/api/results?limit=50&outcome=success").json();
    assert_eq!(first["results"].as_array().unwrap().len(), 50);
    let next = first["next"].as_str().unwrap();
    let rest = client
        .get(&format!("/api/results?limit=50&after={next}"))
        .json();
    assert_eq!(rest["results"].as_array().unwrap().len(), 30);
    assert_eq!(rest["next"], json!(null));
    assert_eq!(client.get("/api/results?to=a").json()["results"], json!([]));

    let entries = client.get(&format!("/api/runs/{RUN}/entries?from=3")).text;
    assert_eq!(entries, text(&journal[3..]));
    for page in [
        "/",
        "/matrix?from=a&to=b",
        "/matrix?by=latency",
        "/map",
        "/nat",
        "/runs",
    ] {
        assert_eq!(client.get(page).status, 200, "{page}");
    }
    let page = client.get(&format!("/compare?a={RUN}&b={RUN}"));
    assert!(page.text.contains("no difference shown"), "{}", page.text);
    let metrics = client.get("/metrics").text;
    assert!(metrics.contains(&format!(
        "vps_test_run_criterion_success_ratio{{project=\"ant-quic\",run=\"{RUN}\",criterion=\"direct\"}} 1\n"
    )));
}

#[test]
fn entries_are_taken_once_in_order_and_as_they_were() {
    let registry = Registry::start();
    let client = &registry.client;
    let journal = lines("ant-quic", FLEET, 4);
    let next = |answer: crate::client::Answer| answer.json()["next_seq"].clone();
    assert_eq!(next(client.publish(RUN, "")), 0);
    assert_eq!(next(client.publish(RUN, &text(&journal[..5]))), 5);
    assert_eq!(next(client.publish(RUN, &text(&journal[2..7]))), 7);
    assert_eq!(next(client.publish(RUN, "")), 7);
    let gap = client.publish(RUN, &text(&journal[9..]));
    assert_eq!(gap.error(), (409, "gap".into()));
    let mut other = lines("ant-quic", FLEET, 4);
    other[1] = other[1].replace("2023", "2024");
    let answer = client.publish(RUN, &text(&other[..5]));
    assert_eq!(answer.error(), (409, "other_run".into()));
    let illegal = journal[7]
        .replace("DEPLOY", "COMPLETE")
        .replace("TEST", "COMPLETE");
    assert_eq!(
        client.publish(RUN, &illegal).error(),
        (422, "illegal_entry".into())
    );
    assert_eq!(
        client.publish(RUN, "{").error(),
        (400, "malformed_json".into())
    );
    assert_eq!(next(client.publish(RUN, &text(&journal))), journal.len());
}

#[test]
fn a_run_belongs_to_its_fleet_and_an_operator_removes_it() {
    let registry = Registry::start();
    let client = &registry.client;
    let journal = text(&lines("ant-quic", FLEET, 2));
    let stranger = Keys::make(&registry.tokens, "other");
    let answer = client.publish_as(&stranger.operator, RUN, &journal);
    assert_eq!(answer.error(), (403, "foreign_run".into()));
    assert_eq!(client.publish(RUN, &journal).status, 200);
    let path = format!("/api/runs/{RUN}");
    let unseen = client.get_as(Some(&stranger.viewer), &path);
    assert_eq!(unseen.error(), (404, "unknown_run".into()));
    assert_eq!(client.delete_as(&stranger.operator, &path).status, 404);
    assert_eq!(client.delete_as(&client.keys.viewer, &path).status, 403);
    assert_eq!(client.delete_as(&client.keys.operator, &path).status, 200);
    assert_eq!(client.get(&path).status, 404);
}

#[test]
fn what_happens_is_told_as_it_happens() {
    let registry = Registry::start();
    let client = &registry.client;
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent();
    let stream = agent
        .get(format!("{}/api/events", client.url))
        .header("Authorization", format!("Bearer {}", client.keys.viewer))
        .call()
        .unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut reader = BufReader::new(stream.into_body().into_reader());
    let mut next = |wanted: &str| loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended");
        if line.starts_with(wanted) {
            return line;
        }
    };
    next("event: hello");
    client.register("a", 1);
    next("event: peer");
    assert!(next("data: ").contains("\"alive\":true"));
    let stranger = Keys::make(&registry.tokens, "other");
    let foreign = text(&lines("theirs", "other", 0));
    assert_eq!(
        client
            .publish_as(&stranger.operator, "theirs/t", &foreign)
            .status,
        200
    );
    client.publish(RUN, &text(&lines("ant-quic", FLEET, 0)[..1]));
    next("event: entry");
    let told = next("data: ");
    assert!(told.contains(RUN) && told.contains("confirmed"), "{told}");
}

/// Kills the real binary while entries come in, again and again; whatever was
/// acknowledged must be there afterwards.
#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens.json");
    let keys = Keys::make(&tokens, FLEET);
    let data = dir.path().join("data");
    let serve = || {
        Binary::serve(&[
            "--tokens",
            tokens.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--rate-per-token",
            "100000",
            "--rate-per-address",
            "100000",
        ])
    };
    let journal = lines("ant-quic", FLEET, 400);
    let acknowledged = AtomicU64::new(0);
    for round in 0..4u64 {
        let registry = serve();
        let client = Client::plain(&registry.url, keys.clone());
        let kept = client.publish(RUN, "").json()["next_seq"].as_u64().unwrap();
        let had = acknowledged.load(Ordering::SeqCst);
        assert!(kept >= had, "{kept} are kept of {had} acknowledged");
        let entries = client.get(&format!("/api/runs/{RUN}/entries"));
        let lines_kept = entries.text.lines().count() as u64;
        assert!(
            kept == 0 || lines_kept == kept.min(1000),
            "{lines_kept} {kept}"
        );
        std::thread::scope(|scope| {
            let url = registry.url.clone();
            let (keys, journal, acknowledged) = (&keys, &journal, &acknowledged);
            scope.spawn(move || publish_until_it_dies(&url, keys, journal, kept, acknowledged));
            let enough = kept + 20;
            let began = std::time::Instant::now();
            while acknowledged.load(Ordering::SeqCst) < enough {
                assert!(began.elapsed() < Duration::from_secs(30), "round {round}");
                std::thread::sleep(Duration::from_millis(3));
            }
            registry.kill_9();
        });
    }
    assert!(acknowledged.load(Ordering::SeqCst) >= 80);
}

fn publish_until_it_dies(
    url: &str,
    keys: &Keys,
    journal: &[String],
    from: u64,
    acknowledged: &AtomicU64,
) {
    let agent = ureq::Agent::new_with_defaults();
    for (seq, line) in (from..).zip(&journal[from as usize..]) {
        let sent = agent
            .post(format!("{url}/api/runs/{RUN}/entries"))
            .header("Authorization", format!("Bearer {}", keys.operator))
            .send(line);
        if sent.is_err() {
            return;
        }
        acknowledged.store(seq + 1, Ordering::SeqCst);
    }
}

#[test]
fn peers_are_known_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens.json");
    let keys = Keys::make(&tokens, FLEET);
    let data = dir.path().join("data");
    let serve = || {
        Binary::serve(&[
            "--tokens",
            tokens.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
        ])
    };
    let registry = serve();
    let client = Client::plain(&registry.url, keys.clone());
    let peer = client.register("a", 1);
    // Peers are written behind.
    std::thread::sleep(Duration::from_millis(2500));
    registry.kill_9();
    let registry = serve();
    let client = Client::plain(&registry.url, keys.clone());
    assert_eq!(client.heartbeat(&peer, &json!({})).status, 200);
    let bound = make_token(&tokens, FLEET, Scope::Peer, Some("b"));
    let answer = client.post_as(
        Some(&format!("Bearer {bound}")),
        "/api/heartbeat",
        json!({ "peer": peer }).to_string().as_bytes(),
    );
    assert_eq!(answer.error(), (403, "foreign_peer".into()));
}
