//! The dashboard: pages that the server renders, one script, one style sheet.
//!
//! What a page shows is read here; how it looks is the business of `view`.

mod cache;
mod decide;
mod login;
mod show;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

pub(crate) use cache::Cache;

use crate::auth::Access;
use crate::state::Shared;

type Handler = fn() -> MethodRouter<Shared>;

pub(crate) const ROUTES: &[(&str, Access, Handler)] = &[
    ("/", Access::Read, || get(show::overview)),
    ("/matrix", Access::Read, || get(show::matrix)),
    ("/map", Access::Read, || get(show::map)),
    ("/nat", Access::Read, || get(show::nat)),
    ("/nodes/{node}", Access::Read, || get(show::node)),
    ("/runs", Access::Read, || get(show::runs)),
    ("/runs/{project}/{time}", Access::Read, || get(show::run)),
    ("/runs/{project}/{time}/decision", Access::Operator, || {
        get(decide::back).post(decide::enter)
    }),
    ("/compare", Access::Read, || get(show::compare)),
    ("/login", Access::Anybody, || {
        get(login::form).post(login::enter)
    }),
    ("/logout", Access::Anybody, || post(login::leave)),
    (view::STYLE_PATH, Access::Anybody, || get(style)),
    (view::SCRIPT_PATH, Access::Anybody, || get(script)),
    (view::ICON_PATH, Access::Anybody, || get(icon)),
];

async fn style(headers: HeaderMap) -> Response {
    asset(&headers, "text/css; charset=utf-8", view::STYLE)
}

async fn script(headers: HeaderMap) -> Response {
    asset(&headers, "text/javascript; charset=utf-8", view::SCRIPT)
}

async fn icon(headers: HeaderMap) -> Response {
    asset(&headers, "image/svg+xml", view::ICON)
}

/// Asked for again with every page, and sent again when it changed.
fn asset(headers: &HeaderMap, kind: &'static str, content: &'static str) -> Response {
    use sha2::{Digest as _, Sha256};
    let digest = hex::encode(Sha256::digest(content));
    let tag = format!("\"{}\"", &digest[..16]);
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::ETAG,
            HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
        ),
    ];
    let known = headers.get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (axum::http::StatusCode::NOT_MODIFIED, fields).into_response();
    }
    (fields, content).into_response()
}
