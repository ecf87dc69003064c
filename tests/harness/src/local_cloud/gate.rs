//! The registry's front door: asks every request for a valid ECR token, then
//! passes it on to the backend, bodies streaming both ways.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::Response;

use super::faults::Subject;
use super::registry_tokens::Verdict;
use super::{Shared, answer, clock};

/// What the registry protocol calls a request.
pub(super) fn subject(method: &Method, path: &str) -> Subject {
    let verb = match *method {
        Method::GET => "Get",
        Method::HEAD => "Head",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        Method::POST | Method::PATCH => "Upload",
        _ => "Other",
    };
    let operation = if path.trim_end_matches('/') == "/v2" {
        "Ping".to_owned()
    } else if path.contains("/manifests/") {
        format!("{verb}Manifest")
    } else if path.contains("/blobs/uploads/") {
        "UploadBlob".to_owned()
    } else if path.contains("/blobs/") {
        format!("{verb}Blob")
    } else if path.ends_with("/tags/list") {
        "ListTags".to_owned()
    } else {
        verb.to_owned()
    };
    Subject { service: "registry", operation, path: path.to_owned() }
}

/// Answers one request.
pub(super) async fn respond(cloud: &Shared, request: Request<Body>) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let verdict = cloud.state().registry_tokens.judge(authorization.unwrap_or_default(), clock::now());
    match verdict {
        Verdict::Valid => pass(cloud, request).await,
        Verdict::Expired => {
            let message = "Your authorization token has expired. Reauthenticate and try again.";
            answer::registry_error(StatusCode::FORBIDDEN, "DENIED", message)
        }
        Verdict::Unknown => {
            let mut response =
                answer::registry_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Not Authorized");
            let state = cloud.state();
            let (account, region) = (&state.instance.account, &state.instance.region);
            let challenge = format!(
                "Basic realm=\"https://{account}.dkr.ecr.{region}.amazonaws.com/\",service=\"ecr.amazonaws.com\""
            );
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

async fn pass(cloud: &Shared, mut request: Request<Body>) -> Response {
    let unavailable = |message: &str| answer::registry_error(StatusCode::BAD_GATEWAY, "UNAVAILABLE", message);
    let Some(backend) = cloud.backend.as_deref() else {
        return unavailable("there is no registry backend");
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("{backend}{path}").parse::<Uri>() else {
        return unavailable("the path is malformed");
    };
    *request.uri_mut() = uri;
    for name in [header::AUTHORIZATION, header::CONNECTION] {
        request.headers_mut().remove(name);
    }
    match cloud.client.forward(request).await {
        Ok(mut response) => {
            response.headers_mut().remove(header::CONNECTION);
            response
        }
        Err(error) => unavailable(&error.to_string()),
    }
}
