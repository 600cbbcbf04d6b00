//! Bodies, queries and paths into types; what does not fit is told with the place and the word that was meant.

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use nexin_runtime::settings::nearest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::v1::{ErrorBody, ErrorCode};

/// Largest body of a request that is not policy, bytes.
const JSON_LIMIT: usize = 256 << 10;
/// Largest body of policy documents, bytes.
pub(super) const YAML_LIMIT: usize = 8 << 20;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// A text body (YAML; the policy parser reads it).
pub(super) struct Text(pub(super) String);

/// The query part of the URL.
pub(super) struct Params<T>(pub(super) T);

/// Variables of the path.
pub(super) struct Segments<T>(pub(super) T);

impl IntoResponse for ErrorBody {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self)).into_response()
    }
}

async fn read(request: Request, limit: usize) -> Result<Vec<u8>, ErrorBody> {
    let bytes = to_bytes(request.into_body(), limit).await;
    bytes.map(|bytes| bytes.to_vec()).map_err(|error| {
        let too_large = std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("limit"));
        if too_large {
            ErrorBody::new(ErrorCode::TooLarge, format!("the body is larger than {limit} bytes"))
                .hint("send fewer documents at once")
        } else {
            ErrorBody::new(ErrorCode::BadRequest, format!("the body cannot be read: {error}"))
        }
    })
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ErrorBody;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ErrorBody> {
        let bytes = read(request, JSON_LIMIT).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| misfit("the body", &error.to_string()))
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = ErrorBody;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ErrorBody> {
        let bytes = read(request, YAML_LIMIT).await?;
        String::from_utf8(bytes).map(Self).map_err(|error| {
            let message = format!("the body is not UTF-8 text: {}", error.utf8_error());
            ErrorBody::new(ErrorCode::BadRequest, message)
        })
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Params<T> {
    type Rejection = ErrorBody;

    fn from_request_parts(parts: &mut Parts, _state: &S) -> impl Future<Output = Result<Self, ErrorBody>> + Send {
        let query = Query::<T>::try_from_uri(&parts.uri);
        let query = query.map(|query| Self(query.0));
        std::future::ready(query.map_err(|rejection| misfit("the query", &rejection.body_text())))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ErrorBody;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorBody> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|rejection| misfit("the path", &rejection.body_text()))
    }
}

/// What serde says, and the word that was probably meant: serde lists those it expected in backquotes.
fn misfit(what: &str, message: &str) -> ErrorBody {
    let error = ErrorBody::new(ErrorCode::BadRequest, format!("{what} does not fit: {message}"));
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = message.contains("unknown field") || message.contains("unknown variant");
    match words.next() {
        Some(given) if unknown => match nearest(given, words.clone()) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None => error.hint(format!("known are {}", words.collect::<Vec<_>>().join(", "))),
        },
        _ => error.hint("GET /openapi.json describes every request"),
    }
}

/// 200 with a JSON body, or the refusal.
pub(super) fn reply<T: Serialize>(answer: Result<T, ErrorBody>) -> Response {
    match answer {
        Ok(body) => axum::Json(body).into_response(),
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_in_field_names_get_a_hint() {
        let hint = |message: &str| misfit("the body", message).hint.unwrap();
        assert_eq!(hint("unknown field `lables`, expected `labels` or `named_ports`"), "did you mean `labels`?");
        assert_eq!(hint("unknown field `zzz`, expected `labels` or `named_ports`"), "known are labels, named_ports");
        assert!(hint("EOF while parsing").contains("openapi"));
    }
}
