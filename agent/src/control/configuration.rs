//! `/v1/config/…`: what is asked of node.toml itself, passed on to the agent's outermost loop.
//!
//! In: a question, for `diff` with the texts to compare in its body. Out: that loop's answer. Reading is for everybody, as
//! is all that is in force; whoever compares or reloads has files read, and may change something anyway.
//! Not its job: reading or judging a configuration ([`crate::run`]).

use super::api::{Accepted, Fault, Refused};
use super::server::{Lasting, Shared};
use crate::reload::{Refusal, Request};
use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use node::config::Source;
use std::time::Duration;
use tokio::sync::oneshot;

/// For an answer. Who reads may be ending tasks of the configuration before, for 12 s at most, and asks the metadata
/// service for 5 s.
pub(super) const DEADLINE: Duration = Duration::from_secs(40);

/// `GET /v1/config/toml`
pub(super) async fn typed(State(shared): State<Shared>, Extension(connection): Lasting) -> Response {
    connection.may_last();
    match ask(&shared, |reply| Request::Show { reply }).await {
        Ok(text) => ([(CONTENT_TYPE, "application/toml")], text).into_response(),
        Err(response) => response,
    }
}

/// `POST /v1/config/diff`
pub(super) async fn compare(
    State(shared): State<Shared>,
    Extension(connection): Lasting,
    body: Bytes,
) -> Response {
    connection.may_last();
    let sources: Option<Vec<Source>> = match body.is_empty() {
        true => None,
        false => match serde_json::from_slice(&body) {
            Ok(sources) => Some(sources),
            Err(error) => {
                let message = format!("the body is no list of texts: {error}");
                let hint = "agentctl and node-agent should be of the same version";
                return Fault::new("query_invalid", message).hinting(hint).into_response();
            }
        },
    };
    match ask(&shared, |reply| Request::Compare { sources, reply }).await {
        Ok(change) => Json(change).into_response(),
        Err(response) => response,
    }
}

/// `POST /v1/config/reload`
pub(super) async fn reload(State(shared): State<Shared>, Extension(connection): Lasting) -> Response {
    connection.may_last();
    match ask(&shared, |reply| Request::Reload { reply }).await {
        Ok(taken) => Json(Accepted { message: taken.message, target: None }).into_response(),
        Err(response) => response,
    }
}

async fn ask<T>(
    shared: &Shared,
    make: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Request,
) -> Result<T, Response> {
    let stopping = || {
        Fault::new("agent_stopping", "the agent reads no configuration while it stops")
            .hinting("look at `systemctl status node-agent`")
            .into_response()
    };
    let (reply, answer) = oneshot::channel();
    let exchange = async {
        shared.control.configuration.send(make(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    };
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(answered) => answered?.map_err(refused),
        Err(_) => {
            let fault = Fault::new("agent_busy", "the agent did not read the configuration in time");
            Err(fault.hinting("it may still do so: look at `agentctl status`").into_response())
        }
    }
}

fn refused(refusal: Refusal) -> Response {
    let Refusal { code, message, hint, mistakes } = refusal;
    let fault = Fault { code: code.to_owned(), message, hint };
    // As every other fault: one place says which status a code has.
    let status = fault.clone().into_response().status();
    if mistakes.is_empty() { fault.into_response() } else { with_mistakes(status, fault, mistakes) }
}

fn with_mistakes(status: StatusCode, fault: Fault, mistakes: Vec<node::config::Mistake>) -> Response {
    (status, Json(Refused { fault, mistakes })).into_response()
}
