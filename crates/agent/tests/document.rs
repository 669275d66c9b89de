//! `docs/agent-protocol.md` says what the types say.

use std::collections::BTreeSet;

use model::nat::Observations;
use model::protocol::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/agent-protocol.md");

/// Fenced blocks: what follows the fence, and what is inside.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut parts = DOCUMENT.split("```");
    let mut blocks = Vec::new();
    parts.next();
    while let (Some(block), Some(_)) = (parts.next(), parts.next()) {
        let (info, body) = block
            .split_once('\n')
            .expect("a fence has a line of its own");
        blocks.push((info.trim(), body.trim()));
    }
    blocks
}

fn block(info: &str) -> &'static str {
    let found = blocks().into_iter().find(|(i, _)| *i == info);
    found.unwrap_or_else(|| panic!("no block `{info}`")).1
}

fn round_trip<T: Serialize + DeserializeOwned>(text: &str) -> T {
    let written: Value = serde_json::from_str(text).expect("an example is JSON");
    let typed: T =
        serde_json::from_value(written.clone()).unwrap_or_else(|error| panic!("{error} in {text}"));
    let again = serde_json::to_value(&typed).expect("a type of the protocol is JSON");
    assert_eq!(again, written, "{text}");
    typed
}

#[test]
fn every_request_parses() {
    let mut methods = BTreeSet::new();
    for (_, body) in blocks().into_iter().filter(|(i, _)| *i == "json request") {
        methods.insert(round_trip::<Request>(body).call.method());
    }
    let all = [
        "hello", "prepare", "expect", "dial", "announce", "exchange", "finish", "probe", "perform",
    ];
    assert_eq!(methods, BTreeSet::from(all));
}

#[test]
fn every_response_parses_as_its_methods_result() {
    let mut seen = BTreeSet::new();
    for (info, body) in blocks() {
        let Some(method) = info.strip_prefix("json response ") else {
            continue;
        };
        let Outcome::Result(result) = round_trip::<Response>(body).outcome else {
            continue;
        };
        let result = result.to_string();
        seen.insert(method);
        match method {
            "hello" => drop(round_trip::<Hello>(&result)),
            "prepare" => drop(round_trip::<Prepared>(&result)),
            "expect" => drop(round_trip::<Empty>(&result)),
            "dial" => drop(round_trip::<Connected>(&result)),
            "announce" => drop(round_trip::<Announced>(&result)),
            "exchange" => drop(round_trip::<Exchanged>(&result)),
            "finish" => drop(round_trip::<Finished>(&result)),
            "probe" => drop(round_trip::<Observations>(&result)),
            "perform" => drop(round_trip::<Performed>(&result)),
            other => panic!("no method `{other}`"),
        }
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
}

#[test]
fn every_word_is_explained() {
    let words = [
        serde_json::to_value([
            Reason::Timeout,
            Reason::Refused,
            Reason::NoAddress,
            Reason::Closed,
            Reason::Corrupt,
            Reason::Unsupported,
            Reason::BadRequest,
            Reason::Stack,
            Reason::Infrastructure,
        ]),
        serde_json::to_value([Rung::Direct, Rung::Punched, Rung::Relayed, Rung::Reverse]),
        serde_json::to_value([ClaimedPath::Unknown]),
    ];
    for list in words {
        for word in list.unwrap().as_array().unwrap() {
            let quoted = format!("`{}`", word.as_str().unwrap());
            assert!(DOCUMENT.contains(&quoted), "{quoted} is not explained");
        }
    }
    assert!(DOCUMENT.contains(&format!("Version: **{VERSION}**")));
}

#[test]
fn the_payload_vector_is_right() {
    let bytes = model::payload::bytes("vps-test", 40);
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(block("text payload"), hex);
    assert_eq!(block("text digest"), model::payload::digest("vps-test", 40));
}
