//! `GET /v1/services/NAME/logs`: a service's output as text, across its containers when it is followed.
//!
//! The only answer that asks the engine. It has a deadline for the first line; after that a follower lives until it
//! hangs up or the agent stops.

use crate::board::Board;
use crate::control::api::Fault;
use crate::engine::EngineError;
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use jiff::Timestamp;
use node::fault::Hint;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// For the engine to say anything at all.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Output of a container, piece by piece; ends when the container does, or at once where it is not followed.
pub type Output = BoxStream<'static, Result<Bytes, EngineError>>;

/// Reads what containers write. `host/docker` is the real one.
pub trait ContainerOutput: Send + Sync + 'static {
    /// Lines of both streams, as they were written.
    fn output(&self, container_id: &str, lines: Lines) -> Output;
}

/// Which lines of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// The last so many of the past.
    pub tail: usize,
    /// Of these only what was written at this time or later.
    pub since: Option<Timestamp>,
    /// Then what comes.
    pub follow: bool,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) service: String,
    pub(super) lines: Lines,
    /// Held while the answer is being written.
    pub(super) permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// The answer to `question`, or why there is none.
pub(super) async fn answer(
    board: &Board,
    source: &Arc<dyn ContainerOutput>,
    question: Question,
) -> Result<Response, Fault> {
    let container = container_of(board, &question.service)?;
    let mut output = source.output(&container, question.lines);
    let first = match tokio::time::timeout(FIRST_ANSWER, output.next()).await {
        Ok(Some(Err(error))) => return Err(from_engine(&error)),
        Ok(first) => first,
        // A container that writes nothing is no fault of the engine's when somebody waits for its next line.
        Err(_) if question.lines.follow => None,
        Err(_) => {
            return Err(Fault::new("docker_unresponsive", "the Docker engine gave no log line in time")
                .hinting("look at `systemctl status docker`"));
        }
    };
    let past = stream::iter(first).chain(output);
    let pieces: BoxStream<'static, _> = if question.lines.follow {
        Box::pin(past.chain(successors(board.clone(), Arc::clone(source), container, question)))
    } else {
        Box::pin(past.map(move |piece| {
            let _held = &question.permit;
            piece
        }))
    };
    Ok(Response::new(Body::from_stream(pieces)))
}

fn container_of(board: &Board, service: &str) -> Result<String, Fault> {
    let status = board.status();
    let Some(found) = status.services.iter().find(|found| found.name == service) else {
        return Err(unknown_service(service, &status));
    };
    found.container_id.clone().or_else(|| newest(board, service)).ok_or_else(|| {
        Fault::new("no_container", format!("service {service} has no container yet"))
            .hinting(format!("`agentctl explain {service}` says what it waits for"))
    })
}

/// The container made last, also one that ended: its last words are what one wants to read.
fn newest(board: &Board, service: &str) -> Option<String> {
    let containers = board.containers();
    let ours = containers.into_iter().filter(|container| container.service == service);
    ours.max_by_key(|container| container.generation).map(|container| container.id)
}

/// The output of every container that takes the place of `last`, from its first line.
fn successors(
    board: Board,
    source: Arc<dyn ContainerOutput>,
    last: String,
    question: Question,
) -> impl Stream<Item = Result<Bytes, EngineError>> {
    let changes = board.changes();
    stream::unfold((last, changes), move |(last, mut changes)| {
        let (board, source, question) = (board.clone(), Arc::clone(&source), question.clone());
        async move {
            let next = loop {
                match container_of(&board, &question.service) {
                    Ok(id) if id != last => break id,
                    _ if !changes.next().await => return None,
                    _ => {}
                }
            };
            let whole = Lines { tail: crate::control::api::LARGEST_TAIL, since: None, follow: true };
            let output = source.output(&next, whole);
            Some((output, (next, changes)))
        }
    })
    .flatten()
}

/// No such service, with the names that exist.
pub(super) fn unknown_service(service: &str, status: &crate::status::Status) -> Fault {
    let names: Vec<&str> = status.services.iter().map(|service| service.name.as_str()).collect();
    let fault = Fault::new("service_unknown", format!("there is no service {service} in node.toml"));
    if names.is_empty() { fault } else { fault.hinting(format!("services are: {}", names.join(", "))) }
}

fn from_engine(error: &EngineError) -> Fault {
    Fault { code: error.code().to_owned(), message: node::fault::one_line(error), hint: error.hint() }
}
