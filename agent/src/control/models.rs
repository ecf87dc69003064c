//! `/v1/models`: what is known of the models, and commands for their loop.
//!
//! In: a verb and a query. Out: [`crate::status::Models`] from the board, or a [`ModelCommand`] and its answer. A name may
//! be written as in node.toml or as the server lists it; which model that is, is decided by its parts.
//! Not its job: deciding whether a command makes sense (the loop of the models).

use super::api::Fault;
use super::server::{COMMAND_DEADLINE, Lasting, Shared, give, identity_unknown, malformed};
use crate::command::{LOOKUP_DEADLINE, ModelCommand, ModelWish};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use axum::{Extension, Json};
use node::config::ReferenceError;
use node::config::settings::{ModelReference, Models};
use node::fault::Hint;
use serde::Deserialize;

/// `GET /v1/models`: also where the node has none.
pub(super) async fn list(State(shared): State<Shared>) -> Response {
    Json(shared.control.board.models()).into_response()
}

/// What comes behind the `?`. A word that is not known may be a safeguard that would be missing: it is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelQuery {
    model: Option<String>,
    digest: Option<String>,
    #[serde(default)]
    retry: bool,
}

/// `POST /v1/models/VERB`
pub(super) fn command(verb: &'static str) -> MethodRouter<Shared> {
    post(async move |shared: State<Shared>, connection: Lasting, query: ModelQuestion| {
        take(verb, shared, connection, query).await
    })
}

type ModelQuestion = Result<Query<ModelQuery>, QueryRejection>;

async fn take(
    verb: &'static str,
    State(shared): State<Shared>,
    Extension(connection): Lasting,
    query: ModelQuestion,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| malformed(&rejection))?;
    let wish = wish(verb, &query)?;
    match shared.control.settings.borrow().as_deref() {
        None => return Err(identity_unknown()),
        Some(settings) => known(settings.models.as_ref(), query.model.as_deref())?,
    }
    // A registry may be asked before the answer, which may take longer than an exchange may otherwise.
    let deadline = if asks_registry(&wish, query.model.as_deref()) {
        connection.may_last();
        COMMAND_DEADLINE + LOOKUP_DEADLINE
    } else {
        COMMAND_DEADLINE
    };
    let model = query.model;
    give(&shared.control.models, deadline, |reply| ModelCommand { model, wish, reply }).await
}

/// Whether the command may need to know what a tag names before it is taken or refused.
fn asks_registry(wish: &ModelWish, model: Option<&str>) -> bool {
    match wish {
        // Of all models at once, each is asked for after the answer.
        ModelWish::Update { .. } => model.is_some(),
        ModelWish::Pin { digest } => digest.is_some(),
        ModelWish::Pull | ModelWish::Rollback | ModelWish::Unpin => false,
    }
}

/// What the verb means with this query.
fn wish(verb: &str, query: &ModelQuery) -> Result<ModelWish, Fault> {
    let invalid = |what: String| Err(Fault::new("query_invalid", what).hinting("see `agentctl models help`"));
    if query.digest.is_some() && verb != "pin" {
        return invalid(format!("{verb} takes no digest"));
    }
    if query.retry && verb != "update" {
        return invalid(format!("{verb} takes no retry"));
    }
    if query.model.is_none() && !["pull", "update"].contains(&verb) {
        return invalid(format!("{verb} is for one model, and none is named"));
    }
    Ok(match verb {
        "pull" => ModelWish::Pull,
        "update" => ModelWish::Update { retry: query.retry },
        "rollback" => ModelWish::Rollback,
        "pin" => ModelWish::Pin { digest: query.digest.clone() },
        _ => ModelWish::Unpin,
    })
}

/// Commands name models of node.toml, also before the first pass has published any.
fn known(models: Option<&Models>, name: Option<&str>) -> Result<(), Fault> {
    let Some(models) = models else {
        return Err(Fault::new("models_not_configured", "this node looks after no models")
            .hinting("name them in node.toml: [models.pull.\"NAME\"]"));
    };
    let Some(name) = name else { return Ok(()) };
    let asked: ModelReference = name.parse().map_err(|error: ReferenceError| Fault {
        code: "model_invalid".to_owned(),
        message: node::fault::one_line(&error),
        hint: error.hint(),
    })?;
    let wanted: Vec<&ModelReference> = models.pull.values().map(|model| &model.reference).collect();
    if wanted.iter().any(|wanted| wanted.full() == asked.full()) {
        return Ok(());
    }
    let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let fault = Fault::new("model_unknown", format!("there is no model {asked} in node.toml"));
    Err(if names.is_empty() { fault } else { fault.hinting(format!("models are: {}", names.join(", "))) })
}
