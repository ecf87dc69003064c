//! The server of the control API.
//!
//! In: connections on the socket. Out: answers from the [`Board`], commands to the reconcile loop. A status never waits
//! for the engine or for AWS. Whoever connects cannot hurt others: one request a connection, few connections, small
//! requests, deadlines for all of it, and a share of the connections that only root can use.
//! Not its job: deciding whether a command makes sense (the loop) or who may give one ([`super::peer`]).

use crate::board::Board;
use crate::command::{Command, LOOKUP_DEADLINE, ModelCommand, Refused, Reply, Taken, Wish};
use crate::control::api::{self, Accepted, Fault, Goal};
use crate::control::configuration;
use crate::control::logs::{self, ContainerOutput};
use crate::control::models;
use crate::control::peer::{self, Peer};
use crate::reload;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use jiff::Timestamp;
use node::config::Settings;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// For the loop to take a command; it does so between two steps, not at the end of a pass.
pub(super) const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// Followers of logs at a time; the rest of the connections stays free for status.
const FOLLOWERS: usize = 16;

/// What the answers are made from.
#[derive(Clone)]
pub struct Control {
    /// Where everyone writes their part of the status.
    pub board: Board,
    /// To the reconcile loop.
    pub commands: mpsc::Sender<Command>,
    /// To the loop of the models.
    pub models: mpsc::Sender<ModelCommand>,
    /// Reads what containers write.
    pub output: Arc<dyn ContainerOutput>,
    /// The validated configuration; `None` while the instance is unknown.
    pub settings: watch::Receiver<Option<Arc<Settings>>>,
    /// To who reads the configuration.
    pub configuration: mpsc::Sender<reload::Request>,
}

/// [`Control`] and what the requests share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) control: Control,
    followers: Arc<Semaphore>,
}

/// The routes, without the identity of the peer: [`super::socket`] adds that to every connection.
pub(super) fn router(control: Control) -> Router {
    let shared = Shared { control, followers: Arc::new(Semaphore::new(FOLLOWERS)) };
    Router::new()
        .route(api::STATUS, get(status))
        .route(api::EXPLAIN, get(explain))
        .route(api::CONFIG, get(config))
        .route(api::CONFIG_TOML, get(configuration::typed))
        .route(api::CONFIG_DIFF, post(configuration::compare))
        .route(api::CONFIG_RELOAD, post(configuration::reload))
        .route("/v1/services/{name}/logs", get(service_logs))
        .route("/v1/services/{name}/restart", post(restart))
        .route("/v1/services/{name}/update", post(update_one))
        .route("/v1/services/{name}/target", post(target))
        .route("/v1/services/{name}/rollback", post(rollback))
        .route("/v1/services/{name}/{verb}", post(plain_wish))
        .route(api::UPDATE, post(update_all))
        .route(api::MODELS, get(models::list))
        .route("/v1/models/{verb}", post(models::command))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_path)
        .layer(middleware::from_fn(authorise))
        .with_state(shared)
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = match self.code.as_str() {
            "not_allowed" => StatusCode::FORBIDDEN,
            "path_unknown" | "service_unknown" | "model_unknown" | "models_not_configured" => {
                StatusCode::NOT_FOUND
            }
            "query_invalid" | "reference_invalid" | "digest_invalid" | "model_invalid" => {
                StatusCode::BAD_REQUEST
            }
            "docker_unresponsive" | "agent_busy" | "agent_stopping" | "identity_unknown" => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::CONFLICT,
        };
        (status, Json(self)).into_response()
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Fault {
        Fault { code: refused.code.to_owned(), message: refused.message, hint: refused.hint }
    }
}

/// Lets reading through; lets changes through for those who may, and says in the log who made them.
async fn authorise(Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    // Percent-encoded, so that no line of the log can be forged.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let command = format!("{} {path}", request.method());
    let (uid, pid) = (peer.uid, peer.pid.unwrap_or_default());
    if !peer.may_change().await {
        tracing::warn!(uid, pid, command, "refused a command: uid {uid} (pid {pid}) asked for {command}");
        let message = format!("user {uid} may read but not change anything");
        let hint = format!("use sudo, or join the group: `usermod -aG {} USER`", peer::GROUP);
        return Fault::new("not_allowed", message).hinting(hint).into_response();
    }
    let response = next.run(request).await;
    let answer = response.status().as_u16();
    tracing::info!(uid, pid, command, answer, "uid {uid} (pid {pid}) asked for {command}: {answer}");
    response
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(shared.control.board.status()).into_response()
}

#[derive(Deserialize)]
struct ExplainQuery {
    service: Option<String>,
}

async fn explain(State(shared): State<Shared>, query: Query<ExplainQuery>) -> Result<Response, Fault> {
    let board = &shared.control.board;
    let mut explanations = board.explanations();
    if let Some(service) = &query.service {
        explanations.retain(|explanation| explanation.service == *service);
        if explanations.is_empty() {
            return Err(logs::unknown_service(service, &board.status()));
        }
    }
    Ok(Json(explanations).into_response())
}

async fn config(State(shared): State<Shared>) -> Result<Response, Fault> {
    match shared.control.settings.borrow().as_deref() {
        Some(settings) => Ok(Json(settings).into_response()),
        None => Err(identity_unknown()),
    }
}

pub(super) fn identity_unknown() -> Fault {
    Fault::new("identity_unknown", "the configuration depends on the instance, which is unknown so far")
        .hinting("`agentctl status` says why the metadata service gave no answer")
}

#[derive(Deserialize)]
struct LogsQuery {
    tail: Option<usize>,
    since: Option<Timestamp>,
    #[serde(default)]
    follow: bool,
}

impl LogsQuery {
    /// Who says since when wants all that was written since.
    fn tail(&self) -> usize {
        let usual = if self.since.is_some() { api::LARGEST_TAIL } else { api::DEFAULT_TAIL };
        self.tail.unwrap_or(usual).min(api::LARGEST_TAIL)
    }
}

async fn service_logs(
    State(shared): State<Shared>,
    Extension(connection): Extension<super::socket::Connection>,
    Path(service): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| malformed(&rejection))?;
    let permit = Arc::clone(&shared.followers).try_acquire_owned().map_err(|_| {
        Fault::new("agent_busy", format!("{FOLLOWERS} others read logs already"))
            .hinting("end one of the `agentctl logs` that run on this node")
    })?;
    connection.may_last();
    let question = logs::Question {
        service,
        lines: logs::Lines { tail: query.tail(), since: query.since, follow: query.follow },
        permit: Some(Arc::new(permit)),
    };
    logs::answer(&shared.control.board, &shared.control.output, question).await
}

pub(super) type Lasting = Extension<super::socket::Connection>;

async fn restart(State(shared): State<Shared>, Path(service): Path<String>) -> Result<Response, Fault> {
    shared.known(&service)?;
    shared.command(|reply| Command::Restart { service, reply }).await
}

async fn update_one(State(shared): State<Shared>, Path(service): Path<String>) -> Result<Response, Fault> {
    shared.known(&service)?;
    shared.command(|reply| Command::Update { service: Some(service), reply }).await
}

async fn update_all(State(shared): State<Shared>) -> Result<Response, Fault> {
    shared.command(|reply| Command::Update { service: None, reply }).await
}

#[derive(Deserialize)]
struct TargetQuery {
    to: String,
    #[serde(default)]
    retry: bool,
}

async fn target(
    State(shared): State<Shared>,
    Extension(connection): Lasting,
    Path(service): Path<String>,
    query: Result<Query<TargetQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(TargetQuery { to, retry }) = query.map_err(|rejection| malformed(&rejection))?;
    shared.wish_with_lookup(&connection, service, Wish::Target { to, retry }).await
}

#[derive(Deserialize)]
struct RollbackQuery {
    to: Option<String>,
}

async fn rollback(
    State(shared): State<Shared>,
    Extension(connection): Lasting,
    Path(service): Path<String>,
    query: Result<Query<RollbackQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(RollbackQuery { to }) = query.map_err(|rejection| malformed(&rejection))?;
    shared.wish_with_lookup(&connection, service, Wish::Rollback { to }).await
}

/// What needs no more than the name of a service.
async fn plain_wish(
    State(shared): State<Shared>,
    Extension(connection): Lasting,
    Path((service, verb)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Fault> {
    let wish = match verb.as_str() {
        "retry" => return shared.wish_with_lookup(&connection, service, Wish::Retry).await,
        "hold" => Wish::Hold,
        "release" => Wish::Release,
        "stop" => Wish::Stop,
        "start" => Wish::Start,
        _ => return Err(unknown_path(request).await),
    };
    shared.known(&service)?;
    shared.command(|reply| Command::Wish { service, wish, reply }).await
}

pub(super) fn malformed(rejection: &QueryRejection) -> Fault {
    Fault::new("query_invalid", rejection.body_text())
        .hinting("agentctl and node-agent should be of the same version")
}

pub(super) async fn unknown_path(request: Request) -> Fault {
    let message = format!("{} {} is not part of this API", request.method(), request.uri().path());
    Fault::new("path_unknown", message).hinting("agentctl and node-agent should be of the same version")
}

impl Shared {
    /// Commands name services of node.toml, also before the first pass has published any.
    fn known(&self, service: &str) -> Result<(), Fault> {
        match self.control.settings.borrow().as_deref() {
            None => Err(identity_unknown()),
            Some(settings) if settings.services.contains_key(service) => Ok(()),
            Some(_) => Err(logs::unknown_service(service, &self.control.board.status())),
        }
    }

    async fn command(&self, make: impl FnOnce(Reply) -> Command) -> Result<Response, Fault> {
        self.command_within(COMMAND_DEADLINE, make).await
    }

    /// A registry is asked before the answer, which may take longer than an exchange may otherwise.
    async fn wish_with_lookup(
        &self,
        connection: &super::socket::Connection,
        service: String,
        wish: Wish,
    ) -> Result<Response, Fault> {
        self.known(&service)?;
        connection.may_last();
        let deadline = COMMAND_DEADLINE + LOOKUP_DEADLINE;
        self.command_within(deadline, |reply| Command::Wish { service, wish, reply }).await
    }

    async fn command_within(
        &self,
        deadline: Duration,
        make: impl FnOnce(Reply) -> Command,
    ) -> Result<Response, Fault> {
        give(&self.control.commands, deadline, make).await
    }
}

/// Gives a command to a loop, and its answer back.
pub(super) async fn give<C>(
    taker: &mpsc::Sender<C>,
    deadline: Duration,
    make: impl FnOnce(Reply) -> C,
) -> Result<Response, Fault> {
    let busy = || {
        Fault::new("agent_busy", "the agent did not take the command in time")
            .hinting("it may still take it: look at `agentctl status`")
    };
    let stopping = || {
        Fault::new("agent_stopping", "the agent takes no commands while it starts or stops")
            .hinting("try again in a moment; `agentctl status` says what it is doing")
    };
    let (reply, answer) = oneshot::channel();
    let exchange = async {
        taker.send(make(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    };
    let taken = tokio::time::timeout(deadline, exchange).await.map_err(|_| busy())???;
    Ok(Json(Accepted::from(taken)).into_response())
}

impl From<Taken> for Accepted {
    fn from(taken: Taken) -> Accepted {
        let target = taken.target.map(|goal| Goal { digest: goal.digest, at: goal.at });
        Accepted { message: taken.message, target }
    }
}
