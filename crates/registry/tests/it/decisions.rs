//! A run that waits for a person: who may say what, once, and from where.

use registry::Scope;
use serde_json::json;

use crate::client::{Answer, Client, FLEET, Keys, Registry, make_token};
use crate::journal::{lines, parked, text};

const RUN: &str = "ant-quic/20250110T143000Z";

fn with_a_parked_run() -> Registry {
    let registry = Registry::start();
    let journal = text(&parked("ant-quic", FLEET));
    let answer = registry.client.publish(RUN, &journal);
    assert_eq!(answer.status, 200, "{}", answer.text);
    registry
}

fn decide(client: &Client, token: &str, body: &serde_json::Value) -> Answer {
    let path = format!("/api/runs/{RUN}/decision");
    client.post_as(
        Some(&format!("Bearer {token}")),
        &path,
        body.to_string().as_bytes(),
    )
}

#[test]
fn the_first_word_counts_and_is_kept_with_its_author() {
    let registry = with_a_parked_run();
    let client = &registry.client;
    let path = format!("/api/runs/{RUN}/decision");
    let waits = client.get(&path).json();
    assert_eq!(waits, json!({"awaits_review": true, "decided": null}));
    let yes = json!({"decision": "confirmed"});
    let no = json!({"decision": "rejected", "reason": "too slow"});

    for token in [&client.keys.viewer, &client.keys.peer] {
        assert_eq!(
            decide(client, token, &yes).error(),
            (403, "forbidden".into())
        );
    }
    let stranger = Keys::make(&registry.tokens, "other");
    let foreign = decide(client, &stranger.operator, &yes);
    assert_eq!(foreign.error(), (404, "unknown_run".into()));
    let operator = &client.keys.operator;
    for reason in [
        json!(null),
        json!("  "),
        json!("a\nb"),
        json!("x".repeat(501)),
    ] {
        let word = json!({"decision": "rejected", "reason": reason});
        let answer = decide(client, operator, &word);
        assert_eq!(answer.error(), (422, "invalid_field".into()), "{word}");
    }

    let said = decide(client, operator, &no).json();
    let published = client.publish(RUN, "").json()["next_seq"].clone();
    assert_eq!(said["entries"], published);
    assert_eq!(said["by"], "test");
    let late = decide(client, operator, &yes);
    assert_eq!(late.error(), (409, "decided".into()));
    let kept = client.get(&path).json()["decided"].clone();
    assert_eq!(kept, said);

    assert_eq!(
        client
            .delete_as(operator, &format!("/api/runs/{RUN}"))
            .status,
        200
    );
    client.publish(RUN, &text(&parked("ant-quic", FLEET)));
    assert_eq!(client.get(&path).json()["decided"], json!(null));
}

#[test]
fn a_run_that_waits_for_nobody_takes_no_word() {
    let registry = Registry::start();
    let client = &registry.client;
    client.publish(RUN, &text(&lines("ant-quic", FLEET, 2)));
    let word = json!({"decision": "confirmed"});
    let answer = decide(client, &client.keys.operator, &word);
    assert_eq!(answer.error(), (409, "not_waiting".into()));
    let page = client.get(&format!("/runs/{RUN}"));
    assert!(!page.text.contains("/decision\""), "{}", page.text);
}

/// The cookie of whoever shows this token.
fn log_in(client: &Client, token: &str) -> String {
    let entered = client.submit("/login", None, &format!("token={token}"));
    let cookie = entered.header("set-cookie");
    cookie.split(';').next().unwrap().to_owned()
}

fn csrf(page: &str) -> &str {
    let value = page.split("name=\"csrf\" value=\"").nth(1).unwrap();
    value.split('"').next().unwrap()
}

#[test]
fn an_operator_decides_with_a_form_and_a_viewer_sees_none() {
    let registry = with_a_parked_run();
    let client = &registry.client;
    let (page, form) = (format!("/runs/{RUN}"), format!("/runs/{RUN}/decision"));
    let viewer = log_in(client, &client.keys.viewer);
    let operator = log_in(client, &client.keys.operator);
    let look = |cookie: &str| client.get_with(("Cookie", cookie), &page).text;

    let seen = look(&viewer);
    assert!(seen.contains("waits for a person") && !seen.contains(&form));
    let word = format!("csrf={}&decision=confirmed&reason=", csrf(&seen));
    let refused = client.submit(&form, Some(&viewer), &word);
    assert_eq!(refused.error(), (403, "forbidden".into()));

    let seen = look(&operator);
    assert!(seen.contains(&form), "{seen}");
    let guessed = client.submit(&form, Some(&operator), "csrf=guess&decision=confirmed");
    assert_eq!(guessed.error(), (403, "foreign_form".into()));
    let word = format!("csrf={}&decision=rejected&reason=<b>slow", csrf(&seen));
    let entered = client.submit(&form, Some(&operator), &word);
    assert_eq!(
        (entered.status, entered.header("location")),
        (303, page.as_str())
    );
    let seen = look(&viewer);
    assert!(
        seen.contains("rejected this run") && seen.contains("&lt;b&gt;slow"),
        "{seen}"
    );
    assert!(!look(&operator).contains(&form));
    // A second word changes nothing, and its author sees the first.
    let word = word.replace("rejected", "confirmed");
    assert_eq!(client.submit(&form, Some(&operator), &word).status, 303);
    assert!(look(&viewer).contains("rejected this run"));
}

#[test]
fn nobody_decides_without_a_browsers_session() {
    let registry = with_a_parked_run();
    let client = &registry.client;
    let form = format!("/runs/{RUN}/decision");
    let stranger = client.submit(&form, None, "csrf=&decision=confirmed");
    let login = format!("/login?next={form}");
    assert_eq!(
        (stranger.status, stranger.header("location")),
        (303, login.as_str())
    );
    let token = make_token(&registry.tokens, FLEET, Scope::Operator, None);
    let bearer = client.post_as(Some(&format!("Bearer {token}")), &form, b"");
    assert!(
        bearer.status == 400 || bearer.status == 403,
        "{}",
        bearer.text
    );
    let back = client.get_as(Some(&token), &form);
    assert_eq!(
        (back.status, back.header("location")),
        (303, format!("/runs/{RUN}").as_str())
    );
}
