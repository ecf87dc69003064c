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
use crate::control::named::Named;
use crate::control::peer::{self, Peer};
use crate::control::places::Followers;
use crate::control::routes::{self, Call, ENDPOINTS};
use crate::control::{follow, openapi};
use crate::reload;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use jiff::Timestamp;
use node::config::Settings;
use serde::Deserialize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// For the loop to take a command; it does so between two steps, not at the end of a pass.
pub(super) const COMMAND_DEADLINE: Duration = Duration::from_secs(10);

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
    /// Of logs.
    followers: Followers,
    /// Of the status.
    watchers: Followers,
}

/// The routes, without the identity of the peer: [`super::socket`] adds that to every connection.
pub(super) fn router(control: Control) -> Router {
    let shared = Shared { control, followers: Followers::new(), watchers: Followers::new() };
    let calls = ENDPOINTS.iter().map(|endpoint| (endpoint.path, handler(endpoint.call)));
    calls
        .fold(Router::new(), |router, (path, handler)| router.route(path, handler))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_path)
        .layer(middleware::from_fn(authorise))
        .with_state(shared)
}

/// Who answers a call. The table says at which path; its method is the one that the handler is for.
fn handler(call: Call) -> MethodRouter<Shared> {
    match call {
        Call::Status => get(status),
        Call::Explain => get(explain),
        Call::Configuration => get(config),
        Call::ConfigurationText => get(configuration::typed),
        Call::ConfigurationDiff => post(configuration::compare),
        Call::ConfigurationReload => post(configuration::reload),
        Call::Models => get(models::list),
        Call::Description => get(description),
        Call::Logs => get(service_logs),
        Call::Restart => post(restart),
        Call::UpdateOne => post(update_one),
        Call::UpdateAll => post(update_all),
        Call::Target => post(target),
        Call::Rollback => post(rollback),
        Call::Retry => post(retry),
        Call::Hold => plain_wish(Wish::Hold),
        Call::Release => plain_wish(Wish::Release),
        Call::Stop => plain_wish(Wish::Stop),
        Call::Start => plain_wish(Wish::Start),
        Call::Model(verb) => models::command(verb),
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        // The table has no number that is not a status.
        let status = StatusCode::from_u16(routes::status_of(&self.code)).unwrap_or(StatusCode::CONFLICT);
        // It may repeat what was asked for, which shall not steer the terminal of whoever reads it.
        let printable = |text: String| text.replace(char::is_control, "\u{fffd}");
        let (message, hint) = (printable(self.message), self.hint.map(printable));
        (status, Json(Fault { message, hint, ..self })).into_response()
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

#[derive(Deserialize)]
struct StatusQuery {
    #[serde(default)]
    follow: bool,
}

async fn status(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(connection): Lasting,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| malformed(&rejection))?;
    let board = &shared.control.board;
    if !query.follow {
        return Ok(Json(board.status()).into_response());
    }
    let permit = shared.watchers.admit(peer.uid, "follow the status")?;
    connection.may_last();
    Ok(follow::answer(board, permit))
}

/// Made when it is first asked for: whoever asks again and again costs no more than its bytes.
async fn description() -> Response {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| openapi::document().to_string().into());
    ([(CONTENT_TYPE, "application/json")], document.clone()).into_response()
}

#[derive(Deserialize)]
struct ExplainQuery {
    service: Option<String>,
}

async fn explain(
    State(shared): State<Shared>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| malformed(&rejection))?;
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
    Extension(peer): Extension<Peer>,
    Extension(connection): Extension<super::socket::Connection>,
    Named(service): Named,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|rejection| malformed(&rejection))?;
    let permit = shared.followers.admit(peer.uid, "read logs")?;
    connection.may_last();
    let question = logs::Question {
        service,
        lines: logs::Lines { tail: query.tail(), since: query.since, follow: query.follow },
        permit: Some(Arc::new(permit)),
    };
    logs::answer(&shared.control.board, &shared.control.output, question).await
}

pub(super) type Lasting = Extension<super::socket::Connection>;

async fn restart(State(shared): State<Shared>, Named(service): Named) -> Result<Response, Fault> {
    shared.known(&service)?;
    shared.command(|reply| Command::Restart { service, reply }).await
}

async fn update_one(State(shared): State<Shared>, Named(service): Named) -> Result<Response, Fault> {
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
    Named(service): Named,
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
    Named(service): Named,
    query: Result<Query<RollbackQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(RollbackQuery { to }) = query.map_err(|rejection| malformed(&rejection))?;
    shared.wish_with_lookup(&connection, service, Wish::Rollback { to }).await
}

async fn retry(
    State(shared): State<Shared>,
    Extension(connection): Lasting,
    Named(service): Named,
) -> Result<Response, Fault> {
    shared.wish_with_lookup(&connection, service, Wish::Retry).await
}

/// For what needs no more than the name of a service.
fn plain_wish(wish: Wish) -> MethodRouter<Shared> {
    post(async |State(shared): State<Shared>, Named(service): Named| -> Result<Response, Fault> {
        shared.known(&service)?;
        shared.command(|reply| Command::Wish { service, wish, reply }).await
    })
}

pub(super) fn malformed(rejection: &QueryRejection) -> Fault {
    Fault::new("query_invalid", rejection.body_text())
        .hinting("agentctl and node-agent should be of the same version")
}

async fn unknown_path(request: Request) -> Fault {
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
