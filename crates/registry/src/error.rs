//! Every answer that is not 2xx: a status, a word for programs, a sentence for people.

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::registration::ErrorBody;

use crate::fields::FieldError;
use crate::peers::PeersError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(
        "this request needs the header `Authorization: Bearer TOKEN` with the registry's token"
    )]
    Unauthorized,
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
    #[error("{0}; the filters are project=NAME, node=NAME and alive=true|false")]
    Query(String),
    #[error(transparent)]
    Peers(#[from] PeersError),
    #[error("there is nothing at this path; GET / lists what there is")]
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
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
        }
        response
    }
}
