//! The routes and what they answer.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, MatchedPath, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::registration::{
    Health, Heartbeat, Metrics, Peer, PeerMetrics, Peers, Registered, Registration,
};
use serde::de::DeserializeOwned;

use crate::auth::require_token;
use crate::error::ApiError;
use crate::fields::{check_heartbeat, check_registration};
use crate::peers::{Filter, Moment};
use crate::prometheus;
use crate::state::{Shared, VERSION};

/// Ten times what the largest acceptable heartbeat takes.
const BODY_MAX: usize = 64 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const STYLE_PATH: &str = "/style.css";

/// Pages have no script at all, and nothing comes from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; \
                                       form-action 'none'; frame-ancestors 'none'";

pub(crate) fn router(shared: Shared) -> Router {
    let writes = Router::new()
        .route("/api/register", post(register))
        .route("/api/heartbeat", post(heartbeat))
        .route_layer(from_fn_with_state(shared.clone(), require_token));
    Router::new()
        .route("/", get(overview))
        .route(STYLE_PATH, get(style))
        .route("/health", get(health))
        .route("/metrics", get(prometheus_text))
        .route("/api/peers", get(peers))
        .route("/api/metrics", get(metrics))
        .merge(writes)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .fallback(async || ApiError::NotFound)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(deadline))
        .layer(from_fn_with_state(shared.clone(), count))
        .layer(from_fn(harden))
        .with_state(shared)
}

async fn register(
    State(shared): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Registered>, ApiError> {
    let registration: Registration = parse(body)?;
    check_registration(&registration)?;
    let now = Moment::now();
    let mut peers = shared.peers(now);
    let peer = peers.register(registration, now)?;
    tracing::info!(%peer, "registered");
    Ok(Json(Registered {
        peer,
        ttl_seconds: peers.ttl().as_secs(),
    }))
}

async fn heartbeat(
    State(shared): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let heartbeat: Heartbeat = parse(body)?;
    check_heartbeat(&heartbeat)?;
    let now = Moment::now();
    shared.peers(now).heartbeat(heartbeat, now)?;
    Ok(Json(serde_json::json!({})))
}

/// Whatever the content type says: `curl --data` would have to be told.
fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| ApiError::from_body(&rejection, BODY_MAX))?;
    Ok(serde_json::from_slice(&body)?)
}

async fn peers(
    State(shared): State<Shared>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Peers>, ApiError> {
    let Query(filter) = filter?;
    let now = Moment::now();
    let peers = shared.peers(now).list(&filter, now);
    Ok(Json(Peers { peers }))
}

async fn metrics(
    State(shared): State<Shared>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Metrics>, ApiError> {
    let Query(filter) = filter?;
    let now = Moment::now();
    let registry = shared.health(now);
    let peers = shared.peers(now).list(&filter, now);
    Ok(Json(Metrics {
        registry,
        peers: peers.into_iter().map(values).collect(),
    }))
}

fn values(peer: Peer) -> PeerMetrics {
    PeerMetrics {
        peer: peer.peer,
        project: peer.registration.project,
        node: peer.registration.node,
        alive: peer.alive,
        metrics: peer.metrics,
    }
}

async fn health(State(shared): State<Shared>) -> Json<Health> {
    Json(shared.health(Moment::now()))
}

async fn prometheus_text(State(shared): State<Shared>) -> impl IntoResponse {
    let now = Moment::now();
    let health = shared.health(now);
    let peers = shared.peers(now).list(&Filter::default(), now);
    let text = prometheus::render(&health, &shared.requests.read(), &peers);
    ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text)
}

async fn overview(State(shared): State<Shared>) -> Html<String> {
    let now = Moment::now();
    let (peers, ttl) = {
        let table = shared.peers(now);
        (table.list(&Filter::default(), now), table.ttl())
    };
    Html(view::overview(&view::Overview {
        peers: &peers,
        now: now.unix_ms,
        ttl_seconds: ttl.as_secs(),
        uptime_seconds: shared.uptime_seconds(),
        version: VERSION,
        style_path: STYLE_PATH,
    }))
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        view::STYLE,
    )
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
    let response = next.run(request).await;
    let route = route.as_ref().map(MatchedPath::as_str);
    shared.requests.count(route, response.status());
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
    set(header::CACHE_CONTROL, "no-store");
    response
}
