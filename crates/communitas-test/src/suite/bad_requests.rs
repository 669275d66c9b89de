//! What no client should send: every bad request is answered as JSON-RPC 2.0 and MCP
//! (2024-11-05) say, and harms nobody.

use agent::Notes;
use model::protocol::{Failure, Performed};
use serde_json::{Value, json};

use super::performed;
use crate::raw::Server;

struct Bad {
    kind: &'static str,
    line: Vec<u8>,
    /// The codes of errors that would be right; none where silence is.
    right: &'static [i64],
    /// A result that says `isError` would be right as well.
    may_be_tool_error: bool,
    /// Nothing says that it is too much: whatever answers is right.
    may_be_done: bool,
}

const OVERSIZE: usize = 8 << 20;

fn bad(kind: &'static str, line: impl Into<Vec<u8>>, right: &'static [i64]) -> Bad {
    Bad {
        kind,
        line: line.into(),
        right,
        may_be_tool_error: false,
        may_be_done: false,
    }
}

fn call(tool: &str, arguments: &Value) -> String {
    request(
        "tools/call",
        &json!({ "name": tool, "arguments": arguments }),
    )
}

fn request(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": "bad", "method": method, "params": params }).to_string()
}

fn all() -> Vec<Bad> {
    let wrong_types = json!({ "entity_id": 5, "entity_type": [], "text": { "no": "text" } });
    let oversize =
        json!({ "entity_id": "e", "entity_type": "group", "text": "x".repeat(OVERSIZE) });
    vec![
        bad("malformed JSON", "{\"jsonrpc\": nonsense", &[-32700]),
        bad("not UTF-8", vec![b'{', 0xff, 0xfe, b'}'], &[-32700]),
        bad(
            "no method",
            "{\"jsonrpc\":\"2.0\",\"id\":\"bad\"}",
            &[-32600],
        ),
        bad("unknown method", request("no/such", &json!({})), &[-32601]),
        bad(
            "no params",
            "{\"jsonrpc\":\"2.0\",\"id\":\"bad\",\"method\":\"tools/call\"}",
            &[-32602],
        ),
        bad("unknown tool", call("no_such_tool", &json!({})), &[-32602]),
        bad(
            "unknown notification",
            "{\"jsonrpc\":\"2.0\",\"method\":\"no/such\"}",
            &[],
        ),
        Bad {
            may_be_tool_error: true,
            ..bad("wrong types", call("send_message", &wrong_types), &[-32602])
        },
        Bad {
            may_be_done: true,
            ..bad(
                "oversize",
                call("send_message", &oversize),
                &[-32600, -32602, -32603],
            )
        },
    ]
}

pub async fn send() -> Result<Performed, Failure> {
    let mut notes = Notes::default();
    for bad in all() {
        let mut server = Server::start()?;
        let answered = match server.initialize().await {
            Ok(()) => answer_to(&mut server, &bad).await,
            Err(why) => Err(why),
        };
        let kind = [("request", bad.kind)];
        notes.trial("answered_right", &kind, answered);
        notes.trial("survived", &kind, server.lives().await);
        server.end().await;
    }
    Ok(performed(notes))
}

async fn answer_to(server: &mut Server, bad: &Bad) -> Result<(), String> {
    server.send(&bad.line).await?;
    if bad.right.is_empty() {
        // Whatever is said first after it has to be the answer to what is asked next.
        let next = server.ask("ping", json!({})).await?;
        return match next.get("result") {
            Some(_) => Ok(()),
            None => Err(format!("a notification was answered: {next}")),
        };
    }
    check(bad, &server.answer().await?)
}

fn check(bad: &Bad, answer: &Value) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{}: {why}: {}", bad.kind, brief(answer)));
    if answer["jsonrpc"] != "2.0" {
        return wrong("no JSON-RPC 2.0");
    }
    if bad.may_be_tool_error && answer["result"]["isError"] == true {
        return Ok(());
    }
    if bad.may_be_done && answer.get("result").is_some() {
        return Ok(());
    }
    let Some(code) = answer["error"]["code"].as_i64() else {
        return wrong("no error");
    };
    if !bad.right.contains(&code) {
        return wrong(&format!("the code should be {}", bad.right[0]));
    }
    // JSON-RPC 2.0, 5: null where the request's could not be known, never left out.
    let is_unknown = code == -32700;
    match answer.get("id") {
        None => wrong("no `id`, which every response has"),
        Some(id) if is_unknown && !id.is_null() => wrong("`id` should be null"),
        Some(id) if !is_unknown && id != "bad" && !id.is_null() => wrong("another request's `id`"),
        Some(_) => Ok(()),
    }
}

fn brief(answer: &Value) -> String {
    answer.to_string().chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: &str, answer: Value) -> Result<(), String> {
        let bad = all().into_iter().find(|bad| bad.kind == kind).unwrap();
        check(&bad, &answer)
    }

    #[test]
    fn a_parse_error_has_the_id_null() {
        let error = json!({ "code": -32700, "message": "Parse error" });
        let right = json!({ "jsonrpc": "2.0", "id": null, "error": error });
        assert_eq!(verdict("malformed JSON", right), Ok(()));
        let without = json!({ "jsonrpc": "2.0", "error": error });
        assert!(
            verdict("malformed JSON", without)
                .unwrap_err()
                .contains("no `id`")
        );
    }

    #[test]
    fn an_unknown_tool_is_an_error_of_the_protocol_and_not_of_the_tool() {
        let tool = json!({ "jsonrpc": "2.0", "id": "bad", "result": { "isError": true } });
        assert!(
            verdict("unknown tool", tool.clone())
                .unwrap_err()
                .contains("no error")
        );
        assert_eq!(verdict("wrong types", tool), Ok(()));
    }
}
