//! The file server: a directory over HTTP, for artifacts and user data.

use std::path::{Component, Path};

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::answer;

/// Answers one request for a file below `root`; nothing outside it is served.
pub(super) async fn respond(root: &Path, method: &Method, path: &str) -> Response {
    if *method != Method::GET && *method != Method::HEAD {
        return answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    let inner = Path::new(path.trim_start_matches('/'));
    if !inner.components().all(|part| matches!(part, Component::Normal(_))) {
        return answer::text(StatusCode::NOT_FOUND, "no such file\n");
    }
    match tokio::fs::read(root.join(inner)).await {
        Ok(bytes) if *method == Method::HEAD => {
            let length = HeaderValue::from(bytes.len());
            let mut response = answer::typed(StatusCode::OK, "application/octet-stream", Body::empty());
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
            response
        }
        Ok(bytes) => answer::typed(StatusCode::OK, "application/octet-stream", bytes),
        Err(_) => answer::text(StatusCode::NOT_FOUND, "no such file\n"),
    }
}
