//! A plain HTTP client for the harness itself: one request, the whole answer.
//!
//! Every call has a deadline, no proxy is used, no redirect is followed. It is
//! not a client for the programs under test.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Longest wait for a whole answer; everything the harness asks is on this host.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a request of the harness has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The request could not be made from what was given.
    #[error("the request to {url} is malformed")]
    Malformed {
        /// Where it was meant to go.
        url: String,
        /// What is wrong with it.
        #[source]
        source: axum::http::Error,
    },
    /// The server could not be reached, or broke off.
    #[error("the request to {url} got no whole answer")]
    Broken {
        /// Where it went.
        url: String,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No whole answer within the deadline.
    #[error("the request to {url} had no answer within {} s", DEADLINE.as_secs())]
    Late {
        /// Where it went.
        url: String,
    },
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers of the answer.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text, invalid UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, `null` where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// One header as text, empty when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A client that keeps connections between requests; cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpClient {
    inner: Client<HttpConnector, Body>,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self { inner: Client::builder(TokioExecutor::new()).build_http() }
    }
}

impl HttpClient {
    /// Sends one request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// [`HttpError`] when there is no whole answer within the deadline.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(body.into())
            .map_err(|source| HttpError::Malformed { url: url.to_owned(), source })?;
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::Broken {
            url: url.to_owned(),
            source,
        };
        let exchange = async {
            let answer = self.inner.request(request).await.map_err(|source| broken(source.into()))?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|source| broken(source.into()))?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(HttpError::Late { url: url.to_owned() }))
    }

    /// Passes a request on and hands its answer back as it streams in.
    ///
    /// # Errors
    /// What the connection said.
    pub(crate) async fn forward(
        &self,
        request: Request<Body>,
    ) -> Result<axum::response::Response, hyper_util::client::legacy::Error> {
        Ok(self.inner.request(request).await?.map(Body::new))
    }
}
