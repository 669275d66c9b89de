//! Secrets out of text that is kept.
//!
//! By shape: headers, private keys, URLs with credentials, values of names that say
//! what they are, and the tokens of well-known services. By value: what the caller
//! knows to be one. It would rather take a harmless word than leave a secret.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

pub const REDACTED: &str = "[redacted]";

/// Shorter values would take common words out of every text.
const SHORTEST_VALUE: usize = 8;

/// Knows secrets by value; the shapes it knows without being told.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    values: Vec<String>,
}

impl Redactor {
    /// The values of environment variables that are named like secrets.
    pub fn of_environment(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut redactor = Self::default();
        for (name, value) in variables {
            if SECRET_NAME.is_match(&name) && !names_something_else(&name) {
                redactor.learn(&value);
            }
        }
        redactor
    }

    /// A value that must never be kept, and how JSON would write it.
    pub fn learn(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() < SHORTEST_VALUE {
            return;
        }
        let quoted = Value::from(secret).to_string();
        let as_json = quoted[1..quoted.len() - 1].to_owned();
        for value in [secret.to_owned(), as_json] {
            if !self.values.contains(&value) {
                self.values.push(value);
            }
        }
        // What contains another goes first, or its rest would stay.
        self.values
            .sort_by_key(|value| std::cmp::Reverse(value.len()));
    }

    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = Cow::Owned(text.replace(value.as_str(), REDACTED));
            }
        }
        for (pattern, with) in SHAPES.iter() {
            text = replace(text, |t| pattern.replace_all(t, *with));
        }
        replace(text, |t| NAMED.replace_all(t, named))
    }

    /// Every text in a JSON value, names of fields excepted; whether any changed.
    pub fn value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                let clean = self.text(text).into_owned();
                let changed = clean != *text;
                *text = clean;
                changed
            }
            Value::Array(items) => items.iter_mut().fold(false, |any, v| self.value(v) | any),
            Value::Object(fields) => fields
                .values_mut()
                .fold(false, |any, v| self.value(v) | any),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

fn replace<'a>(text: Cow<'a, str>, with: impl Fn(&str) -> Cow<'_, str>) -> Cow<'a, str> {
    match with(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(changed) => Cow::Owned(changed),
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file compiles, as its tests show")
}

const NAME: &str = r"[A-Za-z0-9_.-]*(?:secret|token|passw(?:or)?d|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|signing[_-]?key|encryption[_-]?key|auth[_-]?key|credential|cookie|_pass\b)[A-Za-z0-9_]*";

static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i)^{NAME}$")));

/// A name, what joins it to its value, and the value: `NAME=…`, `"name": "…"`,
/// `name: …`, `--name …`, also inside escaped JSON.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)(?P<name>{NAME})(?P<join>\\*["']?\s*(?:=|:)\s*)(?P<value>\\*"[^"\\]+|'[^']+|[^\s"'\\,;&<>(){{}}:\[\]][^\s"'\\,;&<>(){{}}\[\]]*)|(?P<flag>--{NAME})(?P<space>\s+)(?P<word>[^\s"'-][^\s"']*)"#
    ))
});

static SHAPES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let shapes = [
        // To the end of the text where no end is marked: better too much.
        (
            r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|\z)",
            "[redacted private key]",
        ),
        (
            r#"(?i)\b([a-z][a-z0-9+.-]*://[^\s/@:"'<>]*):[^\s/@"'<>]+@"#,
            "$1:[redacted]@",
        ),
        (r#"(?i)\b(https?://)[^\s/@:"'<>\[]+@"#, "$1[redacted]@"),
        (
            r#"(?i)\b((?:proxy-)?authorization\\*["']?\s*[:=]\s*\\*["']?)[^\r\n"'\\]+"#,
            "$1[redacted]",
        ),
        (
            r"(?i)\b(bearer)\s+[A-Za-z0-9._~+/-]{12,}=*",
            "$1 [redacted]",
        ),
        (
            r"\b(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|sk-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|hf_[A-Za-z0-9]{30,}|dop_v1_[a-f0-9]{40,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+)",
            REDACTED,
        ),
    ];
    shapes.map(|(text, with)| (pattern(text), with)).into()
});

fn named(found: &Captures<'_>) -> String {
    let whole = found[0].to_owned();
    let part = |name: &str| found.name(name).map(|m| m.as_str());
    if let (Some(flag), Some(space)) = (part("flag"), part("space")) {
        return if names_something_else(flag) {
            whole
        } else {
            format!("{flag}{space}{REDACTED}")
        };
    }
    let (Some(name), Some(join), Some(value)) = (part("name"), part("join"), part("value")) else {
        return whole;
    };
    let bare = value.trim_start_matches(['\\', '"', '\'']);
    let is_none = ["null", "none", "true", "false", "redacted"].contains(&bare);
    if names_something_else(name) || is_none || bare.is_empty() {
        return whole;
    }
    let quote = &value[..value.len() - bare.len()];
    format!("{name}{join}{quote}{REDACTED}")
}

/// `token_file` is where a token is, `max_tokens` how many.
fn names_something_else(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "file", "path", "dir", "_id", "url", "tokens", "count", "ttl", "type", "_name", "sock",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        Redactor::default().text(text).into_owned()
    }

    #[test]
    fn secrets_go_by_their_shape() {
        let hidden = "hunter2hunter2";
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl";
        for text in [
            format!("Authorization: Bearer {hidden}"),
            format!("authorization: Basic {hidden}=="),
            format!("-H 'Proxy-Authorization: {hidden}'"),
            format!("sent bearer {hidden} to it"),
            format!("https://dirk:{hidden}@example.org/x"),
            format!("https://{hidden}@example.org/x.git"),
            format!("postgres://dirk:{hidden}@db/x"),
            format!("GITHUB_TOKEN={hidden} cargo build"),
            format!("api_key: {hidden}"),
            format!("{{\"apiKey\": \"{hidden}\", \"n\": 1}}"),
            format!("{{\\\"client_secret\\\":\\\"{hidden}\\\"}}"),
            format!("password='{hidden}'"),
            format!("--token {hidden} --verbose"),
            format!("?access_token={hidden}&x=1"),
            format!("Set-Cookie: {hidden}"),
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{hidden}\n-----END OPENSSH PRIVATE KEY-----"
            ),
            format!("-----BEGIN RSA PRIVATE KEY-----\n{hidden}"),
        ] {
            let shown = clean(&text);
            assert!(!shown.contains(hidden), "{text} became {shown}");
            assert!(shown.contains("redacted"), "{text} became {shown}");
        }
        for token in [
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            concat!("sk-", "proj-", "abcdefghijklmnopqrstuv"),
            "AKIAIOSFODNN7EXAMPLE",
            jwt,
        ] {
            assert_eq!(clean(&format!("got {token}.")), format!("got {REDACTED}."));
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "--registry https://10.0.0.1:443 --token-file /var/lib/vps-test/registry/token",
            "token_file=/etc/x",
            "max_tokens: 400",
            "ssh://root@saorsa-1:22",
            "git@github.com:saorsa-labs/ant-quic.git",
            "2026-01-01T00:00:00 saorsa-1 saorsa-quic-test[12]: registered as ant-quic/saorsa-1/x/12",
            "digest 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "password: null",
            "the secret is out",
            "token::Stream",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn the_rest_of_a_line_stays() {
        assert_eq!(
            clean("{\"token\":\"abcdefgh\",\"peer\":\"a\"}"),
            "{\"token\":\"[redacted]\",\"peer\":\"a\"}"
        );
        assert_eq!(
            clean("https://a:b@c/d and more"),
            "https://a:[redacted]@c/d and more"
        );
    }

    #[test]
    fn twice_is_the_same_as_once() {
        for text in [
            "token=abcdefgh",
            "Authorization: Bearer abcdefghijkl",
            "https://a:b@c",
        ] {
            assert_eq!(clean(&clean(text)), clean(text));
        }
    }

    #[test]
    fn values_of_variables_go_wherever_they_stand() {
        let variables = [
            ("DEPLOY_TOKEN", "correct horse \"battery\""),
            ("PATH", "/usr/bin:/bin"),
            ("SHORT_SECRET", "abc"),
            ("TOKEN_FILE", "/etc/token/file"),
        ];
        let redactor =
            Redactor::of_environment(variables.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(
            redactor.text("it said correct horse \"battery\", abc, /usr/bin:/bin, /etc/token/file"),
            "it said [redacted], abc, /usr/bin:/bin, /etc/token/file"
        );
        assert_eq!(
            redactor.text("{\"x\":\"correct horse \\\"battery\\\"\"}"),
            "{\"x\":\"[redacted]\"}"
        );
    }

    #[test]
    fn values_are_cleaned_in_place() {
        let mut value = serde_json::json!({"detail": ["password=abcdefgh", 3]});
        assert!(Redactor::default().value(&mut value));
        assert_eq!(
            value,
            serde_json::json!({"detail": ["password=[redacted]", 3]})
        );
        assert!(!Redactor::default().value(&mut value));
    }
}
