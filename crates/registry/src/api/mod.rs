//! Every route in one table: the router and the OpenAPI document are both made
//! from it, so that neither can say something that the other does not.

mod decision;
mod events;
mod handlers;
pub(crate) mod openapi;

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use model::proof::Proof;
use model::publication::{
    Decide, Decided, DecisionAnswer, MatrixAnswer, News, Published, ResultList, RunList,
};
use model::registration::{Health, Heartbeat, Metrics, Peers, Registered, Registration};
use schemars::{Schema, SchemaGenerator};

pub(crate) use handlers::{blocking, id};

use crate::auth::{Access, Kind, gate};
use crate::error::ApiError;
use crate::pages;
use crate::state::Shared;

/// Ten times what the largest acceptable heartbeat takes.
pub(crate) const BODY_MAX: usize = 64 * 1024;
/// A piece of a journal.
pub(crate) const ENTRIES_MAX: usize = 4 * 1024 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages run one script of our own and show nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request or an answer holds.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    Nothing,
    Json(SchemaOf),
    /// Lines of JSON: a journal's entries.
    JournalLines,
    EventStream(SchemaOf),
    Prometheus,
    Object,
}

/// One method of one path.
pub(crate) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub access: Access,
    pub summary: &'static str,
    pub description: &'static str,
    pub query: Option<SchemaOf>,
    pub request: Content,
    pub answer: Content,
    handler: fn() -> MethodRouter<Shared>,
}

fn of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: "post",
        path: "/api/register",
        access: Access::Peer,
        summary: "Enter a peer, or say that it is there again",
        description: "The same process gets the same name each time it registers. A token that names a node registers peers of that node alone.",
        query: None,
        request: Content::Json(of::<Registration>),
        answer: Content::Json(of::<Registered>),
        handler: || post(handlers::register),
    },
    Route {
        method: "post",
        path: "/api/heartbeat",
        access: Access::Peer,
        summary: "The peer lives; its values now, and what it logged",
        description: "The values replace those before. 404 `unknown_peer` means: register again.",
        query: None,
        request: Content::Json(of::<Heartbeat>),
        answer: Content::Object,
        handler: || post(handlers::heartbeat),
    },
    Route {
        method: "get",
        path: "/api/peers",
        access: Access::Read,
        summary: "The peers",
        description: "Filters combine. A peer that was silent for longer than its time to live is not `alive`; after ten times as long it is dropped.",
        query: Some(of::<crate::peers::Filter>),
        request: Content::Nothing,
        answer: Content::Json(of::<Peers>),
        handler: || get(handlers::peers),
    },
    Route {
        method: "get",
        path: "/api/metrics",
        access: Access::Read,
        summary: "The registry's and every peer's values",
        description: "The filters are those of `/api/peers`.",
        query: Some(of::<crate::peers::Filter>),
        request: Content::Nothing,
        answer: Content::Json(of::<Metrics>),
        handler: || get(handlers::metrics),
    },
    Route {
        method: "get",
        path: "/api/runs",
        access: Access::Read,
        summary: "The runs, newest first",
        description: "",
        query: Some(of::<handlers::RunFilter>),
        request: Content::Nothing,
        answer: Content::Json(of::<RunList>),
        handler: || get(handlers::runs),
    },
    Route {
        method: "get",
        path: "/api/runs/{project}/{time}",
        access: Access::Read,
        summary: "A run as its proof would be if it ended now",
        description: "Evidence that lies in the run directory is not part of it.",
        query: None,
        request: Content::Nothing,
        answer: Content::Json(of::<Proof>),
        handler: || get(handlers::run),
    },
    Route {
        method: "delete",
        path: "/api/runs/{project}/{time}",
        access: Access::Operator,
        summary: "Remove a run and its entries from the registry",
        description: "The run directory of whoever ran it is not touched.",
        query: None,
        request: Content::Nothing,
        answer: Content::Object,
        handler: || delete(handlers::remove_run),
    },
    Route {
        method: "post",
        path: "/api/runs/{project}/{time}/entries",
        access: Access::Operator,
        summary: "Publish entries of a run's journal",
        description: "The body is lines of the journal, in order. Those that are here already must be the same and are not taken twice; `next_seq` says which is wanted next. An answer means that all before it are on the disk. An empty body only asks.",
        query: None,
        request: Content::JournalLines,
        answer: Content::Json(of::<Published>),
        handler: || post(handlers::publish).layer(DefaultBodyLimit::max(ENTRIES_MAX)),
    },
    Route {
        method: "get",
        path: "/api/runs/{project}/{time}/entries",
        access: Access::Read,
        summary: "The entries of a run's journal",
        description: "At most 1000 lines, from the entry `from` on.",
        query: Some(of::<handlers::FromEntry>),
        request: Content::Nothing,
        answer: Content::JournalLines,
        handler: || get(handlers::entries),
    },
    Route {
        method: "post",
        path: "/api/runs/{project}/{time}/decision",
        access: Access::Operator,
        summary: "Confirm or reject a run that waits for a person",
        description: "The first word counts: 409 `decided` afterwards, and 409 `not_waiting` for a run that waits for nobody. The run takes it over with `vps-test confirm --watch`.",
        query: None,
        request: Content::Json(of::<Decide>),
        answer: Content::Json(of::<Decided>),
        handler: || post(decision::decide),
    },
    Route {
        method: "get",
        path: "/api/runs/{project}/{time}/decision",
        access: Access::Read,
        summary: "Whether a run waits for a person, and what they said",
        description: "",
        query: None,
        request: Content::Nothing,
        answer: Content::Json(of::<DecisionAnswer>),
        handler: || get(decision::read),
    },
    Route {
        method: "get",
        path: "/api/results",
        access: Access::Read,
        summary: "Attempts of a run",
        description: "Of the newest run where none is named.",
        query: Some(of::<handlers::ResultFilter>),
        request: Content::Nothing,
        answer: Content::Json(of::<ResultList>),
        handler: || get(handlers::results),
    },
    Route {
        method: "get",
        path: "/api/matrix",
        access: Access::Read,
        summary: "The matrix of a run's newest TEST",
        description: "Of the newest run where none is named.",
        query: Some(of::<handlers::Chosen>),
        request: Content::Nothing,
        answer: Content::Json(of::<MatrixAnswer>),
        handler: || get(handlers::matrix),
    },
    Route {
        method: "get",
        path: "/api/events",
        access: Access::Read,
        summary: "What happens, as it happens",
        description: "Server-sent events `entry`, `removed`, `decided` and `peer`; `missed` where the reader was too slow: read everything again.",
        query: None,
        request: Content::Nothing,
        answer: Content::EventStream(of::<News>),
        handler: || get(events::stream),
    },
    Route {
        method: "get",
        path: "/api/openapi.json",
        access: Access::Anybody,
        summary: "This document",
        description: "",
        query: None,
        request: Content::Nothing,
        answer: Content::Object,
        handler: || get(openapi::serve),
    },
    Route {
        method: "get",
        path: "/health",
        access: Access::Anybody,
        summary: "Is it up",
        description: "",
        query: None,
        request: Content::Nothing,
        answer: Content::Json(of::<Health>),
        handler: || get(handlers::health),
    },
    Route {
        method: "get",
        path: "/metrics",
        access: Access::Read,
        summary: "All values for Prometheus",
        description: "",
        query: None,
        request: Content::Nothing,
        answer: Content::Prometheus,
        handler: || get(handlers::prometheus_text),
    },
];

pub(crate) fn router(shared: Shared) -> Router {
    let guarded = |access, kind| from_fn_with_state((shared.clone(), access, kind), gate);
    let api = ROUTES.iter().fold(Router::new(), |router, route| {
        let handler = (route.handler)().route_layer(guarded(route.access, Kind::Api));
        router.route(route.path, handler)
    });
    let pages = pages::ROUTES
        .iter()
        .fold(Router::new(), |router, (path, access, handler)| {
            router.route(path, handler().route_layer(guarded(*access, Kind::Page)))
        });
    api.merge(pages)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .fallback(async || ApiError::NotFound)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(deadline))
        .layer(from_fn_with_state(shared.clone(), count))
        .layer(from_fn(harden))
        .with_state(shared)
}

async fn deadline(request: Request, next: Next) -> Result<Response, ApiError> {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .map_err(|_| ApiError::Timeout {
            seconds: REQUEST_TIMEOUT.as_secs(),
        })
}

async fn count(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began = std::time::Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map(MatchedPath::as_str);
    shared
        .requests
        .count(route, response.status(), began.elapsed());
    response
}

async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
