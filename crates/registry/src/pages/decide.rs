//! The forms with which a person confirms or rejects a run.

use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::response::Redirect;
use model::event::Decision;
use model::publication::Decide;
use serde::Deserialize;

use crate::api::{blocking, id};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::Shared;

#[derive(Deserialize)]
pub(super) struct Word {
    #[serde(default)]
    csrf: String,
    decision: Decision,
    #[serde(default)]
    reason: String,
}

/// Only from a page of ours, in a browser that is logged in: whoever has a token
/// and no browser asks the API.
pub(super) async fn enter(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((project, time)): Path<(String, String)>,
    word: Result<Form<Word>, FormRejection>,
) -> Result<Redirect, ApiError> {
    let Form(word) = word.map_err(|rejection| ApiError::Unreadable(rejection.body_text()))?;
    let is_own = caller
        .session
        .as_ref()
        .is_some_and(|session| session.is_own_form(&word.csrf));
    if !is_own {
        return Err(ApiError::ForeignForm);
    }
    blocking(move || {
        let id = id(&project, &time)?;
        let decide = Decide {
            decision: word.decision,
            reason: Some(word.reason),
        };
        match shared.decide(&caller, &id, decide) {
            // Somebody was quicker: the run's page says who, or what became of it.
            Ok(_) | Err(ApiError::Decided(_) | ApiError::NotWaiting(_)) => {
                Ok(Redirect::to(&format!("/runs/{id}")))
            }
            Err(error) => Err(error),
        }
    })
    .await
}

/// Where somebody lands who had to log in first.
pub(super) async fn back(
    Path((project, time)): Path<(String, String)>,
) -> Result<Redirect, ApiError> {
    let id = id(&project, &time)?;
    Ok(Redirect::to(&format!("/runs/{id}")))
}
