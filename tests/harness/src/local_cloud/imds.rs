//! The instance metadata service, version 2 only.
//!
//! In: one request and the state; out: its answer. Every value comes from a
//! flat table of leaves; directories are listings of it, as in the real
//! service. A token is demanded for every GET, version 1 is always refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::state::State;
use super::{answer, chance};

const TOKEN_PATH: &str = "/latest/api/token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
/// Longest life of a session token, six hours.
const TTL_MAX: u64 = 21_600;
/// First schema version that has tags.
const TAGS_SINCE: &str = "2021-03-23";

/// Answers one request; `now` judges session tokens, `time` everything that is
/// written with a date.
pub(super) fn respond(state: &mut State, request: &Parts, now: Instant, time: Timestamp) -> Response {
    let path = request.uri.path();
    if request.method == Method::PUT {
        return issue_token(state, path, &request.headers, now);
    }
    if request.method != Method::GET && request.method != Method::HEAD {
        return refusal(StatusCode::METHOD_NOT_ALLOWED);
    }
    let presented = request.headers.get(TOKEN_HEADER).and_then(|token| token.to_str().ok());
    let Some(end) = presented.and_then(|token| state.imds_tokens.get(token)).filter(|end| now < **end) else {
        return refusal(StatusCode::UNAUTHORIZED);
    };
    let remaining = end.duration_since(now).as_secs();
    let mut response = match find(&leaves(state, time), path) {
        Some(value) => answer::text(StatusCode::OK, value),
        None => refusal(StatusCode::NOT_FOUND),
    };
    response.headers_mut().insert(TTL_HEADER, HeaderValue::from(remaining));
    response
}

fn issue_token(state: &mut State, path: &str, headers: &HeaderMap, now: Instant) -> Response {
    // A dated version of the token path is refused, as is a request that came
    // through a proxy.
    if path != TOKEN_PATH || headers.contains_key("x-forwarded-for") {
        return refusal(StatusCode::FORBIDDEN);
    }
    let seconds = headers.get(TTL_HEADER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let Some(seconds) = seconds.filter(|seconds| (1..=TTL_MAX).contains(seconds)) else {
        return refusal(StatusCode::BAD_REQUEST);
    };
    let token = chance::hexadecimal(56);
    state.imds_tokens.insert(token.clone(), now + Duration::from_secs(seconds));
    let mut response = answer::text(StatusCode::OK, token);
    response.headers_mut().insert(TTL_HEADER, HeaderValue::from(seconds));
    response
}

/// The real service answers errors with a page of HTML; a client that takes
/// the body of an error for a value shows itself.
fn refusal(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html>\n <head>\n  <title>{0} - {reason}</title>\n \
         </head>\n <body>\n  <h1>{0} - {reason}</h1>\n </body>\n</html>\n",
        status.as_u16()
    );
    answer::typed(status, "text/html", Body::from(page))
}

/// The value of a leaf, or the listing of a directory.
fn find(leaves: &BTreeMap<String, String>, path: &str) -> Option<String> {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return Some("1.0\n2021-07-15\nlatest".to_owned());
    }
    let (version, inner) = path.split_once('/').unwrap_or((path, ""));
    if !is_version(version) {
        return None;
    }
    let hidden = |key: &str| version < TAGS_SINCE && key.starts_with("meta-data/tags/");
    let visible = leaves.iter().filter(|(key, _)| !hidden(key));
    let directory = inner.trim_end_matches('/');
    if directory.is_empty() {
        let tops: BTreeSet<&str> = visible.filter_map(|(key, _)| key.split('/').next()).collect();
        return Some(tops.into_iter().collect::<Vec<_>>().join("\n"));
    }
    if let Some(value) = leaves.get(inner).filter(|_| !hidden(inner)) {
        return Some(value.clone());
    }
    let prefix = format!("{directory}/");
    let names: BTreeSet<String> = visible
        .filter_map(|(key, _)| key.strip_prefix(&prefix))
        .map(|rest| rest.split_once('/').map_or_else(|| rest.to_owned(), |(name, _)| format!("{name}/")))
        .collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join("\n"))
}

/// `latest`, `1.0`, or a date such as `2021-07-15`.
fn is_version(version: &str) -> bool {
    let dated = version.len() == 10
        && version.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    version == "latest" || version == "1.0" || (dated && version >= "2007-01-19")
}

fn leaves(state: &mut State, time: Timestamp) -> BTreeMap<String, String> {
    let mut leaves = instance_leaves(state, time);
    for (name, value) in &state.block_devices {
        leaves.insert(format!("meta-data/block-device-mapping/{name}"), value.clone());
    }
    for (key, value) in state.tags.iter().flatten() {
        leaves.insert(format!("meta-data/tags/instance/{key}"), value.clone());
    }
    for (path, value) in &state.metadata {
        leaves.insert(format!("meta-data/{path}"), value.clone());
    }
    if let Some(role) = state.role.clone() {
        let document = role_credentials(state, time);
        leaves.insert(format!("meta-data/iam/security-credentials/{role}"), document);
        let arn = format!("arn:aws:iam::{}:instance-profile/{role}", state.instance.account);
        let info = json!({"Code": "Success", "LastUpdated": seconds(time), "InstanceProfileArn": arn,
            "InstanceProfileId": "AIPA0123456789ABCDEF0"});
        leaves.insert("meta-data/iam/info".into(), info.to_string());
    }
    if let Some(user_data) = &state.user_data {
        leaves.insert("user-data".into(), user_data.clone());
    }
    leaves
}

fn instance_leaves(state: &State, time: Timestamp) -> BTreeMap<String, String> {
    let instance = &state.instance;
    let interface = format!("meta-data/network/interfaces/macs/{}", instance.mac);
    let document = json!({
        "accountId": instance.account, "architecture": instance.architecture,
        "availabilityZone": instance.availability_zone, "billingProducts": null,
        "devpayProductCodes": null, "marketplaceProductCodes": null, "imageId": instance.ami_id,
        "instanceId": instance.id, "instanceType": instance.instance_type, "kernelId": null,
        "pendingTime": seconds(time), "privateIp": instance.local_ipv4, "ramdiskId": null,
        "region": instance.region, "version": "2017-09-30",
    });
    let document = format!("{document:#}");
    [
        ("meta-data/ami-id", instance.ami_id.as_str()),
        ("meta-data/ami-launch-index", "0"),
        ("meta-data/hostname", &instance.hostname),
        ("meta-data/instance-action", "none"),
        ("meta-data/instance-id", &instance.id),
        ("meta-data/instance-life-cycle", "on-demand"),
        ("meta-data/instance-type", &instance.instance_type),
        ("meta-data/local-hostname", &instance.hostname),
        ("meta-data/local-ipv4", &instance.local_ipv4),
        ("meta-data/mac", &instance.mac),
        (&format!("{interface}/device-number"), "0"),
        (&format!("{interface}/local-ipv4s"), &instance.local_ipv4),
        (&format!("{interface}/mac"), &instance.mac),
        ("meta-data/placement/availability-zone", &instance.availability_zone),
        ("meta-data/placement/region", &instance.region),
        ("meta-data/reservation-id", "r-0123456789abcdef0"),
        ("meta-data/services/domain", "amazonaws.com"),
        ("meta-data/services/partition", "aws"),
        ("dynamic/instance-identity/document", &document),
    ]
    .into_iter()
    .map(|(path, value)| (path.to_owned(), value.to_owned()))
    .collect()
}

fn role_credentials(state: &mut State, time: Timestamp) -> String {
    let key = state.credentials.for_instance(time);
    let document = json!({
        "Code": "Success", "LastUpdated": seconds(key.issued), "Type": "AWS-HMAC",
        "AccessKeyId": key.access_key_id, "SecretAccessKey": key.secret_access_key,
        "Token": key.session_token, "Expiration": key.expires.map(seconds),
    });
    format!("{document:#}")
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
