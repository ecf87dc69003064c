//! Requests to the model server: each with its deadline, over a connection of its own, and with a limit on the answer.
//!
//! The server is on this node or in its network: no proxy, no redirect; plain HTTP, or TLS with the authorities of the
//! host's store where its URL says so. A future that is dropped closes the
//! connection, which is how the server learns that nobody waits for a pull or a load any more.

use super::refusal::{self, Failure};
use crate::models::server::Endpoint;
use node::fault::one_line;
use reqwest::{Client, ClientBuilder, Method, Response};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// To a host of the same network.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// `/api/show` has the licence, the template and a list of tensors in it; some hundred KiB.
const LONGEST_ANSWER_BYTES: usize = 4 << 20;
/// Answers to what was done are short; lists are not searched for an error.
const LONGEST_ERROR_BYTES: usize = 64 << 10;

/// One request.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) body: Option<Value>,
    pub(super) deadline: Duration,
}

/// The cause of a passed deadline.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs_f64())]
pub(super) struct NoAnswer(pub(super) Duration);

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up HTTP: {0}")]
struct NoClient(String);

/// Or why there is none, one line.
type Made = Result<Client, String>;

#[derive(Debug, Clone)]
pub(super) struct Transport {
    plain: Made,
    /// Made when the first server with TLS is asked: a host without any authority has no need of it before.
    secure: Arc<OnceLock<Made>>,
}

impl Transport {
    pub(super) fn new() -> Transport {
        node::cloud::install_crypto_provider();
        // Plain HTTP only: no certificate is read.
        let plain = made(Client::builder().tls_certs_only([]));
        Transport { plain, secure: Arc::default() }
    }

    fn client(&self, at: &Endpoint) -> Result<&Client, Failure> {
        let secure = at.0.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let made = if secure { self.secure.get_or_init(|| made(Client::builder())) } else { &self.plain };
        made.as_ref().map_err(|why| Failure::Unreachable(Box::new(NoClient(why.clone()))))
    }

    /// The whole answer, where it says that it was done.
    pub(super) async fn ask(&self, at: &Endpoint, call: Call) -> Result<Vec<u8>, Failure> {
        let deadline = call.deadline;
        let answer = async {
            let response = self.send(at, call).await?;
            read(response, LONGEST_ANSWER_BYTES).await
        };
        let answer = within(deadline, answer).await?;
        let error = if answer.len() <= LONGEST_ERROR_BYTES { refusal::error_of(&answer) } else { None };
        match error {
            Some(error) => Err(Failure::Refused(refusal::meaning(None, &error))),
            None => Ok(answer),
        }
    }

    /// The answer as it begins; within the call's deadline. What comes after its head is the caller's to limit.
    pub(super) async fn open(&self, at: &Endpoint, call: Call) -> Result<Response, Failure> {
        within(call.deadline, self.send(at, call)).await
    }

    async fn send(&self, at: &Endpoint, call: Call) -> Result<Response, Failure> {
        let mut request = self.client(at)?.request(call.method, format!("{at}{}", call.path));
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(broken_connection)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // An error that cannot be read to its end is still one.
        let words = read_beginning(response).await;
        Err(refusal::of_status(status.as_u16(), &words))
    }
}

fn made(builder: ClientBuilder) -> Made {
    let client = builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_DEADLINE)
        // A server that was restarted has closed all connections: none is kept for later.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("node-agent/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|error| one_line(&error.without_url()))
}

/// The cause without the URL: the endpoint is named by the error that this becomes part of.
pub(super) fn broken_connection(error: reqwest::Error) -> Failure {
    Failure::Unreachable(Box::new(error.without_url()))
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Unreachable(Box::new(NoAnswer(deadline)))),
    }
}

async fn read(mut response: Response, longest: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken_connection)? {
        body.extend_from_slice(&chunk);
        if body.len() > longest {
            return Err(Failure::Broken(format!("its answer is longer than {longest} bytes")));
        }
    }
    Ok(body)
}

async fn read_beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = LONGEST_ERROR_BYTES - body.len();
        body.extend(chunk.into_iter().take(room));
        if body.len() == LONGEST_ERROR_BYTES {
            break;
        }
    }
    body
}
