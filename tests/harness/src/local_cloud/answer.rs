//! Making answers: text, the JSON of the AWS protocols, and its errors.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use super::chance;

/// A text answer, as IMDS and the file server give them.
pub(super) fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    typed(status, "text/plain", body)
}

/// An answer with a content type.
pub(super) fn typed(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An AWS error: its code and message, always with status 400 as the JSON
/// protocols of the services here answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AwsError {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl AwsError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The answer of a JSON 1.1 operation.
pub(super) fn aws(result: Result<Value, AwsError>) -> Response {
    let (status, body) = match result {
        Ok(value) => (StatusCode::OK, value),
        // Both spellings of the message are in use; SDKs accept either.
        Err(error) => (
            StatusCode::BAD_REQUEST,
            serde_json::json!({"__type": error.code, "message": error.message, "Message": error.message}),
        ),
    };
    let mut response = typed(status, "application/x-amz-json-1.1", body.to_string());
    if let Ok(id) = HeaderValue::from_str(&chance::uuid()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

/// The error body of the registry protocol.
pub(super) fn registry_error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
    let mut response = typed(status, "application/json; charset=utf-8", body.to_string());
    let version = HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert("docker-distribution-api-version", version);
    response
}

/// Seconds since the epoch with a fraction, as the JSON protocols write times.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
pub(super) fn epoch_seconds(time: jiff::Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}
