//! What the API's routes do.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use model::attempt::{Attempt, Matrix, Outcome};
use model::proof::Proof;
use model::publication::{MatrixAnswer, News, Published, ResultList, RunId, RunList};
use model::registration::{
    Health, Heartbeat, Metrics, Peer, PeerMetrics, Peers, Registered, Registration,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{BODY_MAX, ENTRIES_MAX};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::fields::{check_heartbeat, check_registration};
use crate::peers::{Filter, Moment, Owner};
use crate::prometheus;
use crate::runs::Folded;
use crate::state::Shared;

const PAGE_MAX: u32 = 1000;
const RUNS_PAGE: u32 = 50;

pub(super) type Answer<T> = Result<Json<T>, ApiError>;
pub(super) type Body = Result<Bytes, BytesRejection>;

impl Caller {
    /// A peer's token; routes for peers let no other in.
    fn owner(&self) -> Result<Owner<'_>, ApiError> {
        let record = self.record.as_ref().ok_or(ApiError::Unauthorized)?;
        Ok(Owner {
            fleet: &record.fleet,
            node: record.node.as_deref(),
        })
    }
}

pub(super) async fn register(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer<Registered> {
    let registration: Registration = parse(body)?;
    check_registration(&registration)?;
    let now = Moment::now();
    let mut peers = shared.peers(now);
    let peer = peers.register(caller.owner()?, registration, now)?;
    tracing::debug!(%peer, "registered");
    Ok(Json(Registered {
        peer,
        ttl_seconds: peers.ttl().as_secs(),
    }))
}

pub(super) async fn heartbeat(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer<serde_json::Value> {
    let heartbeat: Heartbeat = parse(body)?;
    check_heartbeat(&heartbeat)?;
    let now = Moment::now();
    shared
        .peers(now)
        .heartbeat(caller.owner()?, heartbeat, now)?;
    Ok(Json(serde_json::json!({})))
}

/// Whatever the content type says: `curl --data` would have to be told.
pub(super) fn parse<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| ApiError::from_body(&rejection, BODY_MAX))?;
    Ok(serde_json::from_slice(&body)?)
}

pub(super) async fn peers(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Answer<Peers> {
    let Query(filter) = filter?;
    let (now, nats) = (Moment::now(), shared.nats());
    let (peers, next) = shared.peers(now).list(caller.fleet(), &filter, &nats, now);
    Ok(Json(Peers { peers, next }))
}

pub(super) async fn metrics(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Answer<Metrics> {
    let Query(filter) = filter?;
    let (now, nats) = (Moment::now(), shared.nats());
    let registry = shared.health(now);
    let (peers, next) = shared.peers(now).list(caller.fleet(), &filter, &nats, now);
    Ok(Json(Metrics {
        registry,
        peers: peers.into_iter().map(values).collect(),
        next,
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

pub(super) async fn health(State(shared): State<Shared>) -> Json<Health> {
    Json(shared.health(Moment::now()))
}

pub(super) async fn prometheus_text(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, ApiError> {
    let text = blocking(move || Ok(prometheus::render(&shared, caller.fleet()))).await?;
    Ok(([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text))
}

/// Which runs to list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFilter {
    pub project: Option<String>,
    /// At most so many, 1 to 1000; 50 if absent.
    pub limit: Option<u32>,
    /// Those that follow: the `next` of the answer before.
    pub after: Option<String>,
}

pub(super) async fn runs(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    filter: Result<Query<RunFilter>, QueryRejection>,
) -> Answer<RunList> {
    let Query(filter) = filter?;
    let before = match &filter.after {
        None => None,
        Some(cursor) => {
            let (ms, run) = cursor
                .split_once('.')
                .and_then(|(ms, run)| Some((ms.parse::<i64>().ok()?, run.to_owned())))
                .ok_or_else(|| ApiError::Query("`after` is no `next` of ours".into()))?;
            Some((ms, run))
        }
    };
    let limit = filter.limit.unwrap_or(RUNS_PAGE).clamp(1, PAGE_MAX);
    blocking(move || {
        let before = before.as_ref().map(|(ms, run)| (*ms, run.as_str()));
        let project = filter.project.as_deref();
        let mut rows = shared
            .runs
            .store()
            .runs(caller.fleet(), project, before, limit + 1)?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|(ms, summary)| format!("{ms}.{}", summary.run));
        let runs = rows.into_iter().map(|(_, summary)| summary).collect();
        Ok(Json(RunList { runs, next }))
    })
    .await
}

pub(super) async fn run(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((project, time)): Path<(String, String)>,
) -> Answer<Proof> {
    blocking(move || {
        let id = id(&project, &time)?;
        let folded = shared.run_of(&caller, &id)?;
        let proof = folded.proof();
        proof.map(Json).ok_or(ApiError::UnknownRun(id))
    })
    .await
}

pub(super) async fn remove_run(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((project, time)): Path<(String, String)>,
) -> Answer<serde_json::Value> {
    blocking(move || {
        let id = id(&project, &time)?;
        let folded = shared.run_of(&caller, &id)?;
        shared.runs.remove(&id)?;
        tracing::info!(run = %id, by = caller.name(), "removed");
        shared.tell(&folded.summary.fleet, News::Removed { run: id });
        Ok(Json(serde_json::json!({})))
    })
    .await
}

pub(super) async fn publish(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((project, time)): Path<(String, String)>,
    body: Body,
) -> Answer<Published> {
    let body = body.map_err(|rejection| ApiError::from_body(&rejection, ENTRIES_MAX))?;
    blocking(move || {
        let id = id(&project, &time)?;
        let fleet = caller.fleet().ok_or(ApiError::Unauthorized)?;
        let text = std::str::from_utf8(&body)
            .map_err(|error| ApiError::Unreadable(error.to_string()))?;
        let (published, news) = shared.runs.publish(&id, fleet, text)?;
        let is_news_of_nats =
            |news: &News| matches!(news, News::Entry { event, .. } if event == "nat_measured" || event == "confirmed");
        if news.iter().any(is_news_of_nats) {
            shared.learn_nats(&id);
        }
        for news in news {
            shared.tell(fleet, news);
        }
        Ok(Json(published))
    })
    .await
}

/// Where to begin.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromEntry {
    /// The number of the first entry; 0 if absent.
    pub from: Option<u64>,
}

pub(super) async fn entries(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((project, time)): Path<(String, String)>,
    from: Result<Query<FromEntry>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Query(from) = from?;
    let text = blocking(move || {
        let id = id(&project, &time)?;
        shared.run_of(&caller, &id)?;
        let from = from.from.unwrap_or(0);
        let lines = shared.runs.store().entries(&id, from, PAGE_MAX)?;
        Ok(lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>())
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text))
}

/// Which attempts to list; filters combine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResultFilter {
    /// `PROJECT/TIME`; the newest if absent.
    pub run: Option<String>,
    /// The newest run of this project.
    pub project: Option<String>,
    /// Caller or callee.
    pub node: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    /// `success`, `stack_failure` or `infrastructure`.
    pub outcome: Option<String>,
    /// `stack` or `reference`.
    pub matrix: Option<String>,
    /// At most so many, 1 to 1000; 1000 if absent.
    pub limit: Option<u32>,
    /// Those that follow: the `next` of the answer before.
    pub after: Option<String>,
}

impl ResultFilter {
    fn matches(&self, attempt: &Attempt) -> bool {
        let pair = &attempt.start.cell.pair;
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        let outcome = match attempt.outcome {
            Outcome::Success => "success",
            Outcome::StackFailure(_) => "stack_failure",
            Outcome::Infrastructure { .. } => "infrastructure",
        };
        let matrix = match attempt.start.matrix {
            Matrix::Stack => "stack",
            Matrix::Reference => "reference",
        };
        is(&self.from, pair.from.as_str())
            && is(&self.to, pair.to.as_str())
            && (is(&self.node, pair.from.as_str()) || is(&self.node, pair.to.as_str()))
            && is(&self.outcome, outcome)
            && is(&self.matrix, matrix)
    }
}

pub(super) async fn results(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    filter: Result<Query<ResultFilter>, QueryRejection>,
) -> Answer<ResultList> {
    let Query(filter) = filter?;
    let skip = match &filter.after {
        None => 0,
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| ApiError::Query("`after` is no `next` of ours".into()))?,
    };
    let limit = filter.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX) as usize;
    blocking(move || {
        let chosen = shared.choose(&caller, filter.run.as_deref(), filter.project.as_deref())?;
        let Some(folded) = chosen else {
            return Ok(Json(ResultList {
                run: None,
                results: Vec::new(),
                next: None,
            }));
        };
        let mut found = folded
            .run()
            .attempts
            .iter()
            .enumerate()
            .skip(skip)
            .filter(|(_, attempt)| filter.matches(attempt));
        let page: Vec<(usize, &Attempt)> = found.by_ref().take(limit).collect();
        let next = match (found.next(), page.last()) {
            (Some(_), Some((last, _))) => Some((last + 1).to_string()),
            _ => None,
        };
        Ok(Json(ResultList {
            run: Some(folded.summary.run.clone()),
            results: page
                .into_iter()
                .map(|(_, attempt)| attempt.clone())
                .collect(),
            next,
        }))
    })
    .await
}

/// Which run is meant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
    /// `PROJECT/TIME`; the newest if absent.
    pub run: Option<String>,
    /// The newest run of this project.
    pub project: Option<String>,
}

pub(super) async fn matrix(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    chosen: Result<Query<Chosen>, QueryRejection>,
) -> Answer<MatrixAnswer> {
    let Query(chosen) = chosen?;
    blocking(move || {
        let folded = shared.choose(&caller, chosen.run.as_deref(), chosen.project.as_deref())?;
        let cells = folded
            .as_ref()
            .and_then(|folded| folded.proof())
            .map(|proof| proof.matrix);
        Ok(Json(MatrixAnswer {
            run: folded.map(|folded| folded.summary.run),
            cells: cells.unwrap_or_default(),
        }))
    })
    .await
}

pub(crate) fn id(project: &str, time: &str) -> Result<RunId, ApiError> {
    RunId::new(project, time).ok_or(ApiError::NotFound)
}

impl crate::state::State {
    /// A run that the caller may see; one of another fleet is not there.
    pub(crate) fn run_of(&self, caller: &Caller, id: &RunId) -> Result<Folded, ApiError> {
        self.runs
            .find(id)?
            .filter(|run| {
                caller
                    .fleet()
                    .is_none_or(|fleet| run.summary.fleet == fleet)
            })
            .ok_or_else(|| ApiError::UnknownRun(id.clone()))
    }

    /// The run that is named, or the newest that the caller may see.
    pub(crate) fn choose(
        &self,
        caller: &Caller,
        run: Option<&str>,
        project: Option<&str>,
    ) -> Result<Option<Folded>, ApiError> {
        if let Some(run) = run {
            let id =
                RunId::parse(run).ok_or_else(|| ApiError::Query("`run` is PROJECT/TIME".into()))?;
            return self.run_of(caller, &id).map(Some);
        }
        let newest = self.runs.store().runs(caller.fleet(), project, None, 1)?;
        match newest.into_iter().next() {
            Some((_, summary)) => Ok(self.runs.find(&summary.run)?),
            None => Ok(None),
        }
    }
}

/// Off the threads that answer heartbeats: it may wait for the disk, or think.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApiError::Internal(error.to_string()))?
}
