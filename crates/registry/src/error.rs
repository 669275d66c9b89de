//! Every answer that is not 2xx: a status, a word for programs, a sentence for people.

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::publication::RunId;
use model::registration::ErrorBody;

use crate::auth::token::Scope;
use crate::fields::FieldError;
use crate::peers::PeersError;
use crate::runs::PublishError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(
        "this request needs the header `Authorization: Bearer TOKEN` with a token of the fleet; \
         `vps-test-registry token add` makes one"
    )]
    Unauthorized,
    #[error("this request needs a token of scope {needs}, and this one has scope {has}")]
    Forbidden { needs: &'static str, has: Scope },
    #[error("too many requests; again in {seconds} s")]
    TooMany { seconds: u64 },
    #[error("the form did not come from a page of this registry: load it again")]
    ForeignForm,
    #[error("there is no run `{0}` here")]
    UnknownRun(RunId),
    #[error("run `{0}` does not wait for a person's word")]
    NotWaiting(RunId),
    #[error("somebody has decided on run `{0}` already, and the first word counts")]
    Decided(RunId),
    #[error(transparent)]
    Publish(PublishError),
    #[error("this registry cannot do that now: {0}")]
    Internal(String),
    #[error("the body is larger than {max} bytes")]
    BodyTooLarge { max: usize },
    #[error("the body did not arrive whole: {0}")]
    Unreadable(String),
    #[error("the body is not JSON: {0}")]
    MalformedJson(serde_json::Error),
    #[error("the body does not have the right shape: {0}")]
    WrongShape(serde_json::Error),
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("{0}; /api/openapi.json lists what can be asked")]
    Query(String),
    #[error(transparent)]
    Peers(#[from] PeersError),
    #[error("there is nothing at this path; /api/openapi.json lists what there is")]
    NotFound,
    #[error("this path does not answer that method")]
    MethodNotAllowed,
    #[error("the request took longer than {seconds} s")]
    Timeout { seconds: u64 },
}

impl ApiError {
    fn status_and_word(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::Unreadable(_) => (StatusCode::BAD_REQUEST, "unreadable_body"),
            Self::MalformedJson(_) => (StatusCode::BAD_REQUEST, "malformed_json"),
            Self::WrongShape(_) | Self::Field(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_field")
            }
            Self::Query(_) => (StatusCode::BAD_REQUEST, "invalid_query"),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            Self::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::ForeignForm => (StatusCode::FORBIDDEN, "foreign_form"),
            Self::UnknownRun(_) => (StatusCode::NOT_FOUND, "unknown_run"),
            Self::NotWaiting(_) => (StatusCode::CONFLICT, "not_waiting"),
            Self::Decided(_) => (StatusCode::CONFLICT, "decided"),
            Self::Publish(error) => match error {
                PublishError::Malformed { .. } => (StatusCode::BAD_REQUEST, "malformed_json"),
                PublishError::Gap { .. } => (StatusCode::CONFLICT, "gap"),
                PublishError::Other { .. } => (StatusCode::CONFLICT, "other_run"),
                PublishError::Illegal(_) => (StatusCode::UNPROCESSABLE_ENTITY, "illegal_entry"),
                PublishError::Foreign { .. } => (StatusCode::FORBIDDEN, "foreign_run"),
                PublishError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            },
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::Peers(PeersError::Foreign(_)) => (StatusCode::FORBIDDEN, "foreign_peer"),
            Self::Peers(PeersError::Unknown(_)) => (StatusCode::NOT_FOUND, "unknown_peer"),
            Self::Peers(PeersError::Full(_)) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Timeout { .. } => (StatusCode::REQUEST_TIMEOUT, "timeout"),
        }
    }

    /// `max` is what the limit was set to.
    pub fn from_body(rejection: &BytesRejection, max: usize) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::BodyTooLarge { max }
        } else {
            Self::Unreadable(rejection.body_text())
        }
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_data() {
            Self::WrongShape(error)
        } else {
            Self::MalformedJson(error)
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Store(error) => error.into(),
            other => Self::Publish(other),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!("{error}");
        Self::Internal(error.to_string())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Query(rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, word) = self.status_and_word();
        let body = ErrorBody {
            error: word.into(),
            message: self.to_string(),
        };
        let mut response = (status, Json(body)).into_response();
        if let Self::TooMany { seconds } = self {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
        }
        response
    }
}
