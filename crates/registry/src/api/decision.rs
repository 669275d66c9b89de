//! A person's word on a run that waits for it.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use model::publication::{Decide, Decided, DecisionAnswer};

use super::handlers::{Answer, Body, blocking, id, parse};
use crate::auth::Caller;
use crate::state::Shared;

pub(super) async fn decide(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((project, time)): Path<(String, String)>,
    body: Body,
) -> Answer<Decided> {
    let word: Decide = parse(body)?;
    blocking(move || {
        let id = id(&project, &time)?;
        shared.decide(&caller, &id, word).map(Json)
    })
    .await
}

pub(super) async fn read(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((project, time)): Path<(String, String)>,
) -> Answer<DecisionAnswer> {
    blocking(move || {
        let id = id(&project, &time)?;
        shared.decision(&caller, &id).map(Json)
    })
    .await
}
