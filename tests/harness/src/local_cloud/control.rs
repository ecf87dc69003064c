//! The control endpoint: what a test in another process can change and read.
//!
//! It changes the same state that an in-process test changes through
//! [`super::LocalCloud::state`]; it is not part of the cloud that is imitated
//! and is bound where only tests reach it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::Fault;
use super::{Shared, clock};

type Cloud = State<Arc<Shared>>;

pub(super) fn router(cloud: Arc<Shared>) -> Router {
    Router::new()
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/requests", get(requests).delete(clear_requests))
        .route("/secrets/{*name}", put(put_secret).delete(delete_secret))
        .route("/tags", delete(disable_tags))
        .route("/tags/{key}", put(put_tag).delete(delete_tag))
        .route("/user-data", put(put_user_data).delete(delete_user_data))
        .route("/metadata/{*path}", put(put_metadata).delete(delete_metadata))
        .route("/denied", put(put_denied))
        .route("/imds-tokens/expire", post(expire_imds_tokens))
        .route("/credentials/rotate", post(rotate_credentials))
        .route("/credentials/expire", post(expire_credentials))
        .route("/credentials/fixed", post(fixed_credentials))
        .route("/registry-tokens/expire", post(expire_registry_tokens))
        .route("/registry-tokens/lifetime", put(registry_token_lifetime))
        .route("/logs", get(logs))
        .route("/ca.pem", get(authority))
        .with_state(cloud)
}

async fn faults(State(cloud): Cloud) -> Json<Vec<Fault>> {
    Json(cloud.traffic().faults.clone())
}

async fn add_fault(State(cloud): Cloud, Json(fault): Json<Fault>) -> StatusCode {
    cloud.traffic().faults.push(fault);
    StatusCode::CREATED
}

async fn clear_faults(State(cloud): Cloud) {
    cloud.traffic().faults.clear();
}

async fn requests(State(cloud): Cloud) -> Json<BTreeMap<String, u64>> {
    Json(cloud.traffic().requests.clone())
}

async fn clear_requests(State(cloud): Cloud) {
    cloud.traffic().requests.clear();
}

async fn put_secret(State(cloud): Cloud, Path(name): Path<String>, text: String) -> Json<Value> {
    let version = cloud.state().secrets.put(&name, text, clock::now());
    Json(json!({"VersionId": version}))
}

async fn delete_secret(State(cloud): Cloud, Path(name): Path<String>) -> StatusCode {
    if cloud.state().secrets.remove(&name) { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

async fn disable_tags(State(cloud): Cloud) {
    cloud.state().tags = None;
}

async fn put_tag(State(cloud): Cloud, Path(key): Path<String>, value: String) {
    cloud.state().tags.get_or_insert_default().insert(key, value);
}

async fn delete_tag(State(cloud): Cloud, Path(key): Path<String>) {
    cloud.state().tags.get_or_insert_default().remove(&key);
}

async fn put_user_data(State(cloud): Cloud, text: String) {
    cloud.state().user_data = Some(text);
}

async fn delete_user_data(State(cloud): Cloud) {
    cloud.state().user_data = None;
}

async fn put_metadata(State(cloud): Cloud, Path(path): Path<String>, value: String) {
    cloud.state().metadata.insert(path, value);
}

async fn delete_metadata(State(cloud): Cloud, Path(path): Path<String>) {
    cloud.state().metadata.remove(&path);
}

async fn put_denied(State(cloud): Cloud, Json(actions): Json<BTreeSet<String>>) {
    cloud.state().denied = actions;
}

async fn expire_imds_tokens(State(cloud): Cloud) {
    cloud.state().expire_imds_tokens();
}

async fn rotate_credentials(State(cloud): Cloud) -> Json<Value> {
    let key = cloud.state().credentials.rotate(clock::now());
    Json(json!({"AccessKeyId": key.access_key_id, "Expiration": key.expires}))
}

async fn expire_credentials(State(cloud): Cloud) {
    cloud.state().credentials.expire(clock::now());
}

/// Keys for a caller outside the instance, such as a script with the AWS CLI.
async fn fixed_credentials(State(cloud): Cloud) -> Json<Value> {
    let key = cloud.state().credentials.add_fixed(clock::now());
    Json(json!({"AccessKeyId": key.access_key_id, "SecretAccessKey": key.secret_access_key}))
}

async fn expire_registry_tokens(State(cloud): Cloud) {
    cloud.state().registry_tokens.expire(clock::now());
}

/// The body is the lifetime of the next tokens, seconds.
async fn registry_token_lifetime(State(cloud): Cloud, text: String) -> StatusCode {
    let Ok(seconds) = text.trim().parse() else { return StatusCode::BAD_REQUEST };
    cloud.state().registry_tokens.set_lifetime(SignedDuration::from_secs(seconds));
    StatusCode::OK
}

#[derive(Deserialize)]
struct LogPlace {
    group: Option<String>,
    stream: Option<String>,
}

/// The messages of a stream, the streams of a group, or all groups.
async fn logs(State(cloud): Cloud, Query(place): Query<LogPlace>) -> Json<Value> {
    let state = cloud.state();
    Json(match (place.group, place.stream) {
        (Some(group), Some(stream)) => json!(state.logs.messages(&group, &stream)),
        (Some(group), None) => {
            let streams = state.logs.groups.get(&group).map(|group| group.streams.keys().collect::<Vec<_>>());
            json!(streams.unwrap_or_default())
        }
        (None, _) => json!(state.logs.groups.keys().collect::<Vec<_>>()),
    })
}

async fn authority(State(cloud): Cloud) -> String {
    cloud.authority_pem.clone()
}
