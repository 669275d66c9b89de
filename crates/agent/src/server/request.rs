//! One line in: a call, or why it is none.

use model::protocol::{Call, Failure, Reason};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// A longer line is no request of this protocol.
const LONGEST_LINE: u64 = 1024 * 1024;

const METHODS: [&str; 9] = [
    "hello", "prepare", "expect", "dial", "announce", "exchange", "finish", "probe", "perform",
];

/// The next line that is not empty; `None` at the end of the connection.
pub(super) async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    loop {
        let mut line = Vec::new();
        let read = (&mut *reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await;
        match read {
            Ok(0) | Err(_) => return None,
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => return Some(line),
        }
    }
}

pub(super) struct Incoming {
    /// 0 where the line does not even say that.
    pub id: u64,
    pub call: Result<Call, Failure>,
}

#[derive(Deserialize)]
struct Raw {
    method: String,
    #[serde(default)]
    params: Value,
}

impl Incoming {
    pub fn parse(line: &[u8]) -> Self {
        let parsed: Value = match serde_json::from_slice(line) {
            Ok(value) => value,
            Err(error) => {
                return Self {
                    id: 0,
                    call: Err(bad_request(format!("not a line of JSON: {error}"))),
                };
            }
        };
        let id = parsed.get("id").and_then(Value::as_u64);
        Self {
            id: id.unwrap_or(0),
            call: id
                .ok_or_else(|| bad_request("a request needs an `id`, a number from 1 up".into()))
                .and_then(|_| call(parsed)),
        }
    }
}

fn call(parsed: Value) -> Result<Call, Failure> {
    let Raw { method, params } =
        serde_json::from_value(parsed).map_err(|error| bad_request(format!("{error}")))?;
    if !METHODS.contains(&method.as_str()) {
        return Err(Failure::new(
            Reason::Unsupported,
            format!("no method `{method}`: there are {}", METHODS.join(", ")),
        ));
    }
    if method == "hello" {
        return Ok(Call::Hello);
    }
    serde_json::from_value(json!({ "method": method, "params": params }))
        .map_err(|error| bad_request(format!("{method}: {error}")))
}

fn bad_request(detail: String) -> Failure {
    Failure::new(Reason::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &str) -> (u64, Option<Reason>) {
        let incoming = Incoming::parse(line.as_bytes());
        (incoming.id, incoming.call.err().map(|f| f.reason))
    }

    #[test]
    fn what_is_wrong_with_a_line() {
        assert_eq!(reason("{"), (0, Some(Reason::BadRequest)));
        assert_eq!(
            reason(r#"{"method":"hello"}"#),
            (0, Some(Reason::BadRequest))
        );
        assert_eq!(
            reason(r#"{"id":3,"method":"fly"}"#),
            (3, Some(Reason::Unsupported))
        );
        assert_eq!(
            reason(r#"{"id":4,"method":"finish"}"#),
            (4, Some(Reason::BadRequest))
        );
        assert_eq!(
            reason(r#"{"id":5,"method":"hello","params":{}}"#),
            (5, None)
        );
    }
}
