//! The AWS endpoint: reads a JSON 1.1 call, checks who signed it, and hands it
//! to its service.

use std::io::Read as _;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::{self, AwsError};
use super::faults::Subject;
use super::{Shared, clock, ecr, logs, secrets_manager, signature};

/// Largest request read, before and after decompression: above every limit of
/// the services, so that they are the ones to refuse.
const REQUEST_BYTES: usize = 8 * 1024 * 1024;

/// Service and operation as `X-Amz-Target` names them.
pub(super) fn subject(headers: &HeaderMap, path: &str) -> Subject {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (prefix, operation) = target.split_once('.').unwrap_or((target, ""));
    let service = match prefix {
        "secretsmanager" => "secretsmanager",
        "AmazonEC2ContainerRegistry_V20150921" => "ecr",
        "Logs_20140328" => "logs",
        _ => "aws",
    };
    let operation = if service == "aws" { target } else { operation };
    Subject { service, operation: operation.to_owned(), path: path.to_owned() }
}

/// Answers one call.
pub(super) async fn respond(cloud: &Shared, subject: &Subject, request: Request<Body>) -> Response {
    answer::aws(call(cloud, subject, request).await)
}

async fn call(cloud: &Shared, subject: &Subject, request: Request<Body>) -> Result<Value, AwsError> {
    let (parts, body) = request.into_parts();
    {
        let state = cloud.state();
        let region = &state.instance.region;
        signature::check(&parts.headers, &state.credentials, region, subject.service, clock::now())?;
    }
    let input = read_body(&parts.headers, body).await?;
    match subject.service {
        "secretsmanager" => secrets_manager::respond(&cloud.state(), &subject.operation, input),
        "ecr" => ecr::respond(cloud, &subject.operation, input).await,
        "logs" => logs::respond(&mut cloud.state(), &subject.operation, input, clock::now()),
        _ => Err(unknown_operation(&subject.operation)),
    }
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<Value, AwsError> {
    let malformed = |error: String| AwsError::new("SerializationException", error);
    let collected = Limited::new(body, REQUEST_BYTES).collect().await;
    let bytes = collected.map_err(|error| malformed(error.to_string()))?.to_bytes();
    let gzipped = headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
    let mut plain = Vec::new();
    if gzipped {
        let limit = REQUEST_BYTES as u64;
        let read = flate2::read::GzDecoder::new(&bytes[..]).take(limit).read_to_end(&mut plain);
        read.map_err(|error| malformed(error.to_string()))?;
    }
    let text = if gzipped { &plain[..] } else { &bytes[..] };
    serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))
}

/// Reads the input of an operation into its type.
pub(super) fn input<T: DeserializeOwned>(value: Value) -> Result<T, AwsError> {
    serde_json::from_value(value).map_err(|error| AwsError::new("SerializationException", error.to_string()))
}

pub(super) fn unknown_operation(operation: &str) -> AwsError {
    AwsError::new("UnknownOperationException", format!("the local cloud has no operation {operation:?}"))
}

/// The error of a denied action, as IAM words it.
pub(super) fn denied(action: &str, resource: &str) -> AwsError {
    let resource = if resource.is_empty() { "*" } else { resource };
    let message = format!(
        "User: the role of the instance is not authorized to perform: {action} on resource: {resource} because no \
         identity-based policy allows the {action} action"
    );
    AwsError::new("AccessDeniedException", message)
}
