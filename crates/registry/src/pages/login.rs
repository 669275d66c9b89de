//! A person shows a token once and gets a cookie for it.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{ConnectInfo, Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::auth::token::Scope;
use crate::auth::{COOKIE_NAME, Caller, cookie};
use crate::error::ApiError;
use crate::state::{Shared, State as Registry};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

pub(super) async fn form(next: Result<Query<Next>, QueryRejection>) -> Html<String> {
    let next = next.map(|Query(next)| next).unwrap_or_default();
    Html(view::login(&inside(next.next.as_deref()), None))
}

#[derive(Deserialize)]
pub(super) struct Entry {
    token: String,
    #[serde(default)]
    next: String,
}

/// The form needs no secret of its own: whoever can make a browser send it must
/// know a token already, and the cookie never goes with another site's request.
pub(super) async fn enter(
    State(shared): State<Shared>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    entry: Result<Form<Entry>, FormRejection>,
) -> Response {
    let Ok(Form(entry)) = entry else {
        return refused("", "the form did not arrive whole");
    };
    let next = inside(Some(&entry.next));
    let address = shared.settings.client_address(remote.ip(), &headers);
    let now = Instant::now();
    match shared.check_token(Some(entry.token.trim()), address, now) {
        Ok(record) if record.scope == Scope::Peer => refused(
            &next,
            "this is a peer's token; people need one of scope viewer or operator",
        ),
        Ok(record) => {
            tracing::info!(name = record.name, scope = %record.scope, "logged in");
            let key = shared.sessions.open(&record.id, now);
            let cookie = cookie_header(&shared, &key, 12 * 3600);
            ([(header::SET_COOKIE, cookie)], Redirect::to(&next)).into_response()
        }
        Err(ApiError::TooMany { .. }) => refused(&next, "too many wrong tokens; wait a minute"),
        Err(_) => refused(&next, "no such token; it may have been replaced"),
    }
}

fn refused(next: &str, why: &str) -> Response {
    let page = view::login(next, Some(why));
    (StatusCode::UNAUTHORIZED, Html(page)).into_response()
}

#[derive(Deserialize)]
pub(super) struct Leave {
    #[serde(default)]
    csrf: String,
}

pub(super) async fn leave(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    form: Result<Form<Leave>, FormRejection>,
) -> Result<Response, ApiError> {
    let csrf = form.map(|Form(leave)| leave.csrf).unwrap_or_default();
    if let Some(session) = &caller.session
        && !session.is_own_form(&csrf)
    {
        return Err(ApiError::ForeignForm);
    }
    if let Some(key) = cookie(&headers) {
        shared.sessions.close(key);
    }
    let gone = cookie_header(&shared, "", 0);
    Ok(([(header::SET_COOKIE, gone)], Redirect::to("/login")).into_response())
}

fn cookie_header(shared: &Registry, key: &str, seconds: u32) -> HeaderValue {
    let secure = if shared.settings.secure_cookies {
        "; Secure"
    } else {
        ""
    };
    let text = format!(
        "{COOKIE_NAME}={key}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}"
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// A path of this server, or the front page: nobody is sent elsewhere.
fn inside(next: Option<&str>) -> String {
    let is_ours = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/-._?=&%".contains(&b))
    };
    next.filter(is_ours).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        assert_eq!(inside(Some("/runs?after=1")), "/runs?after=1");
        for bad in [
            "//evil.example",
            "https://evil.example",
            "/\\evil",
            "",
            "/a\nb",
        ] {
            assert_eq!(inside(Some(bad)), "/", "{bad:?}");
        }
    }
}
