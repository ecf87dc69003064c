//! The client of the control API, for `agentctl`: one connection a question, a deadline for every answer.

use crate::change::Change;
use crate::command::LOOKUP_DEADLINE;
use crate::control::api::{Accepted, Fault, Refused};
use crate::status::{Explanation, Models, Status};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use node::config::Source;
use node::fault::Hint;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::Instant;

/// For an answer from the board: it is made in less than a millisecond.
const READ_DEADLINE: Duration = Duration::from_secs(1);
/// For a command to be taken: a little more than the server gives itself.
const COMMAND_DEADLINE: Duration = Duration::from_secs(12);
/// For the first piece of a log: a little more than the server gives itself.
const LOGS_DEADLINE: Duration = Duration::from_secs(7);
/// For the configuration to be read and judged: a little more than the server gives itself.
const CONFIGURATION_DEADLINE: Duration =
    super::configuration::DEADLINE.saturating_add(Duration::from_secs(2));
/// For the next line of a status that is followed.
const SILENCE: Duration = super::follow::HEARTBEAT.saturating_mul(2);
/// Far more than any status; what is longer does not come from node-agent.
const LARGEST_ANSWER: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or nobody listens.
    #[error("cannot reach node-agent at {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Connected, and then nothing.
    #[error("node-agent at {} gave no answer within {} s", path.display(), deadline.as_secs())]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long.
        deadline: Duration,
    },
    /// The connection broke.
    #[error("the connection to node-agent at {} broke", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that this version does not understand.
    #[error("node-agent gave an answer that this agentctl does not understand")]
    Garbled {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The agent says no.
    #[error(transparent)]
    Refused(#[from] Fault),
    /// The agent says no to a configuration.
    #[error(transparent)]
    Invalid(Refused),
}

impl ClientError {
    /// Whether nobody answered, as opposed to an answer that was no.
    pub fn is_unreachable(&self) -> bool {
        !matches!(self, ClientError::Refused(_) | ClientError::Invalid(_) | ClientError::Garbled { .. })
    }
}

impl Hint for ClientError {
    fn hint(&self) -> Option<String> {
        match self {
            ClientError::Unreachable { .. } | ClientError::TimedOut { .. } | ClientError::Broken { .. } => {
                Some("look at `systemctl status node-agent` and `journalctl -u node-agent`".to_owned())
            }
            ClientError::Garbled { .. } => {
                Some("agentctl and node-agent should be of the same version".to_owned())
            }
            ClientError::Refused(fault) | ClientError::Invalid(Refused { fault, .. }) => fault.hint.clone(),
        }
    }
}

/// The client; makes no connection until it is asked something.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client for the agent behind `socket`.
    pub fn new(socket: PathBuf) -> Client {
        Client { socket }
    }

    /// `GET /v1/status`
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.json(Method::GET, super::api::STATUS, READ_DEADLINE).await
    }

    /// `GET /v1/explain`
    pub async fn explain(&self, service: Option<&str>) -> Result<Vec<Explanation>, ClientError> {
        self.json(Method::GET, &super::api::explain(service), READ_DEADLINE).await
    }

    /// `GET /v1/models`
    pub async fn models(&self) -> Result<Models, ClientError> {
        self.json(Method::GET, super::api::MODELS, READ_DEADLINE).await
    }

    /// `GET /v1/config`
    pub async fn config(&self) -> Result<serde_json::Value, ClientError> {
        self.json(Method::GET, super::api::CONFIG, READ_DEADLINE).await
    }

    /// `GET /v1/config/toml`
    pub async fn config_toml(&self) -> Result<String, ClientError> {
        let exchange = async {
            let response = self.send(Method::GET, super::api::CONFIG_TOML, Bytes::new()).await?;
            let body = self.good_body(response).await?;
            String::from_utf8(body.into()).map_err(|error| self.broken(error))
        };
        self.within(CONFIGURATION_DEADLINE, exchange).await
    }

    /// `POST /v1/config/diff`: of `sources`, or of the files as the agent reads them.
    pub async fn config_diff(&self, sources: Option<&[Source]>) -> Result<Change, ClientError> {
        // Texts: serialising cannot fail.
        let body = sources.map(|sources| serde_json::to_vec(sources).unwrap_or_default());
        let exchange = async {
            let body = body.unwrap_or_default().into();
            let response = self.send(Method::POST, super::api::CONFIG_DIFF, body).await?;
            self.parsed(response).await
        };
        self.within(CONFIGURATION_DEADLINE, exchange).await
    }

    /// `POST /v1/config/reload`
    pub async fn config_reload(&self) -> Result<Accepted, ClientError> {
        self.json(Method::POST, super::api::CONFIG_RELOAD, CONFIGURATION_DEADLINE).await
    }

    /// Gives a command: `POST path`.
    pub async fn command(&self, path: &str) -> Result<Accepted, ClientError> {
        self.json(Method::POST, path, COMMAND_DEADLINE).await
    }

    /// Gives a command for which a registry is asked before it is taken.
    pub async fn command_with_lookup(&self, path: &str) -> Result<Accepted, ClientError> {
        self.json(Method::POST, path, COMMAND_DEADLINE + LOOKUP_DEADLINE).await
    }

    /// `GET /v1/status?follow=true`
    pub async fn follow_status(&self) -> Result<StatusStream, ClientError> {
        let pieces = self.open(super::api::FOLLOW_STATUS, READ_DEADLINE).await?;
        Ok(StatusStream { pieces, read: Vec::new(), heard_at: Instant::now() })
    }

    /// `GET /v1/services/NAME/logs`, with the path of [`super::api::logs`].
    pub async fn logs(&self, path: &str) -> Result<LogStream, ClientError> {
        self.open(path, LOGS_DEADLINE).await
    }

    /// An answer that comes piece by piece; the deadline is for its beginning.
    async fn open(&self, path: &str, deadline: Duration) -> Result<LogStream, ClientError> {
        let exchange = async {
            let response = self.send(Method::GET, path, Bytes::new()).await?;
            if response.status().is_success() { Ok(response) } else { Err(self.fault(response).await) }
        };
        let response = self.within(deadline, exchange).await?;
        Ok(LogStream { body: response.into_body(), socket: self.socket.clone() })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        deadline: Duration,
    ) -> Result<T, ClientError> {
        let exchange = async {
            let response = self.send(method, path, Bytes::new()).await?;
            self.parsed(response).await
        };
        self.within(deadline, exchange).await
    }

    async fn parsed<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, ClientError> {
        let body = self.good_body(response).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::Garbled { source })
    }

    async fn good_body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        if response.status().is_success() {
            self.body(response).await
        } else {
            Err(self.fault(response).await)
        }
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        exchange: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let late = || ClientError::TimedOut { path: self.socket.clone(), deadline };
        tokio::time::timeout(deadline, exchange).await.map_err(|_| late())?
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { path: self.socket.clone(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        // Ends with the exchange; what goes wrong in it is told to the sender as well.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "node-agent")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        sender.send_request(request).await.map_err(|error| self.broken(error))
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| self.broken(error))
    }

    async fn fault(&self, response: Response<Incoming>) -> ClientError {
        match self.body(response).await {
            Ok(body) => match serde_json::from_slice::<Refused>(&body) {
                Ok(refused) if !refused.mistakes.is_empty() => ClientError::Invalid(refused),
                Ok(Refused { fault, .. }) => ClientError::Refused(fault),
                Err(source) => ClientError::Garbled { source },
            },
            Err(error) => error,
        }
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), source: error.into() }
    }
}

/// An answer as it comes, piece by piece.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
    socket: PathBuf,
}

impl LogStream {
    /// The next piece; `None` at the end. No deadline: a service may be silent for hours. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
                Some(Err(error)) => {
                    return Err(ClientError::Broken { path: self.socket.clone(), source: error.into() });
                }
            }
        }
    }
}

/// The status as it changes.
#[derive(Debug)]
pub struct StatusStream {
    pieces: LogStream,
    /// What has come of the next line.
    read: Vec<u8>,
    heard_at: Instant,
}

impl StatusStream {
    /// The next status; `None` at the end. An agent from which nothing comes for longer than two heartbeats does not
    /// answer. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Status>, ClientError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let status = serde_json::from_slice(&self.read[..end]);
                self.read.drain(..=end);
                return status.map(Some).map_err(|source| ClientError::Garbled { source });
            }
            let piece = tokio::time::timeout_at(self.heard_at + SILENCE, self.pieces.next()).await;
            let Ok(piece) = piece else {
                return Err(ClientError::TimedOut { path: self.pieces.socket.clone(), deadline: SILENCE });
            };
            match piece? {
                Some(piece) => self.read.extend_from_slice(&piece),
                None if self.read.is_empty() => return Ok(None),
                // An agent of an older version, which knows of no following.
                None => self.read.push(b'\n'),
            }
            if self.read.len() > LARGEST_ANSWER {
                let source = io::Error::other("a line without an end").into();
                return Err(ClientError::Broken { path: self.pieces.socket.clone(), source });
            }
            self.heard_at = Instant::now();
        }
    }
}
