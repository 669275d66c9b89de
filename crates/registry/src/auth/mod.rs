//! Who asks, and whether they may.

pub mod file;
pub(crate) mod limit;
pub(crate) mod session;
pub(crate) mod token;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;

pub(crate) use file::write_private;
use session::Session;
use token::{Record, Scope};

use crate::error::ApiError;
use crate::state::{Shared, State as Registry};

pub(crate) const COOKIE_NAME: &str = "vps_test_session";

/// What a route asks of whoever wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Anybody,
    /// Viewers and operators; anybody at all where the operator said so.
    Read,
    Peer,
    Operator,
}

/// What a refusal looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Api,
    /// A person is sent to the login form.
    Page,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// `None` for the public.
    pub record: Option<Arc<Record>>,
    pub session: Option<Session>,
}

impl Caller {
    /// The only fleet that it may see or touch; `None` sees all.
    pub fn fleet(&self) -> Option<&str> {
        self.record.as_ref().map(|record| record.fleet.as_str())
    }

    pub fn scope(&self) -> Option<Scope> {
        self.record.as_ref().map(|record| record.scope)
    }

    /// Whom an act is recorded under.
    pub fn name(&self) -> &str {
        self.record
            .as_ref()
            .map_or("the public", |record| record.name.as_str())
    }

    fn may(&self, access: Access, public_read: bool) -> Result<(), ApiError> {
        let scope = match (access, self.scope()) {
            (Access::Anybody, _) => return Ok(()),
            (Access::Read, None) if public_read => return Ok(()),
            (_, None) => return Err(ApiError::Unauthorized),
            (_, Some(scope)) => scope,
        };
        let (needs, holds) = match access {
            Access::Anybody => return Ok(()),
            Access::Read => ("viewer", matches!(scope, Scope::Viewer | Scope::Operator)),
            Access::Peer => ("peer", scope == Scope::Peer),
            Access::Operator => ("operator", scope == Scope::Operator),
        };
        if holds {
            return Ok(());
        }
        Err(ApiError::Forbidden { needs, has: scope })
    }
}

/// Refuses, before its body is read, what the route does not allow; what passes
/// carries its [`Caller`].
pub(crate) async fn gate(
    State((shared, access, kind)): State<(Shared, Access, Kind)>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    match admit(&shared, access, remote, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(ApiError::Unauthorized) if kind == Kind::Page => {
            Redirect::to(&format!("/login?next={path}")).into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn admit(
    shared: &Registry,
    access: Access,
    remote: SocketAddr,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let address = shared.settings.client_address(remote.ip(), headers);
    let now = Instant::now();
    let too_many = |seconds| ApiError::TooMany { seconds };
    shared
        .limits
        .addresses
        .take(address, now)
        .map_err(too_many)?;
    let caller = shared.authenticate(address, headers, now)?;
    if let Some(record) = &caller.record {
        let taken = shared.limits.tokens.take(record.id.clone(), now);
        taken.map_err(too_many)?;
    }
    caller.may(access, shared.settings.public_read)?;
    Ok(caller)
}

impl Registry {
    /// A wrong token is an error even where none is needed: whoever shows one
    /// means it.
    fn authenticate(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<Caller, ApiError> {
        let stranger = Caller {
            record: None,
            session: None,
        };
        if let Some(header) = headers.get(AUTHORIZATION) {
            let record = self.check_token(bearer(header.as_bytes()), address, now)?;
            return Ok(Caller {
                record: Some(record),
                ..stranger
            });
        }
        let session = cookie(headers).and_then(|key| self.sessions.find(key, now));
        let record = session
            .as_ref()
            .and_then(|session| self.tokens.still(&session.token_id, Timestamp::now()));
        Ok(Caller {
            session: session.filter(|_| record.is_some()),
            record,
        })
    }

    /// Somebody who guesses is slowed down, whatever they guess.
    pub fn check_token(
        &self,
        presented: Option<&str>,
        address: IpAddr,
        now: Instant,
    ) -> Result<Arc<Record>, ApiError> {
        if !self.limits.guesses.has(&address, now) {
            return Err(ApiError::TooMany { seconds: 1 });
        }
        let found = presented.and_then(|text| self.tokens.find(text, Timestamp::now()));
        found.ok_or_else(|| {
            let _ = self.limits.guesses.take(address, now);
            ApiError::Unauthorized
        })
    }
}

/// The credentials of `Bearer TOKEN`; RFC 9110 lets the scheme be in any case.
fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, token) = header.split_at_checked(7)?;
    let token = std::str::from_utf8(token).ok()?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE_NAME).then_some(value)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scope: Option<Scope>) -> Caller {
        let record = |scope| {
            let (_, record) = token::Token::make("n", scope, "f", None, Timestamp::now());
            Arc::new(record)
        };
        Caller {
            record: scope.map(record),
            session: None,
        }
    }

    #[test]
    fn each_scope_may_do_its_own() {
        use Access::{Anybody, Operator, Peer, Read};
        let allowed = |scope, public| {
            [Anybody, Read, Peer, Operator].map(|access| caller(scope).may(access, public).is_ok())
        };
        assert_eq!(allowed(None, false), [true, false, false, false]);
        assert_eq!(allowed(None, true), [true, true, false, false]);
        assert_eq!(
            allowed(Some(Scope::Viewer), false),
            [true, true, false, false]
        );
        assert_eq!(
            allowed(Some(Scope::Peer), false),
            [true, false, true, false]
        );
        assert_eq!(
            allowed(Some(Scope::Operator), false),
            [true, true, false, true]
        );
    }

    #[test]
    fn only_bearer_credentials_count() {
        assert_eq!(bearer(b"Bearer abc"), Some("abc"));
        assert_eq!(bearer(b"bearer abc"), Some("abc"));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"abc"), None);
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "a=b; vps_test_session=key; c=d".parse().unwrap());
        assert_eq!(cookie(&headers), Some("key"));
        headers.insert(COOKIE, "xvps_test_session=key".parse().unwrap());
        assert_eq!(cookie(&headers), None);
    }
}
