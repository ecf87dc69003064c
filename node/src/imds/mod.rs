//! The instance metadata service, version 2 only.
//!
//! In: paths below `/latest/`. Out: their text (user data: its bytes), `None` where the service has no such thing. What
//! always holds: every request carries a session token, goes past every proxy, follows no redirect and has a deadline;
//! one token is shared by all clones; a time-out is [`ImdsError::Unreachable`], never "absent".
//!
//! The endpoint is `AWS_EC2_METADATA_SERVICE_ENDPOINT`, else `http://169.254.169.254`. On an instance without IPv4 set
//! it to `http://[fd00:ec2::254]`: the client does not guess, since a wrong guess at boot costs its whole patience.

mod error;
#[cfg(test)]
pub(crate) mod fake;
mod retry;
#[cfg(test)]
mod tests;
mod token;

pub use error::ImdsError;
pub use retry::Patience;

use crate::environment::Environment;
use crate::identity::Facts;
use error::TOKEN;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use retry::{Attempt, retry};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use token::{Granted, Keeper, LIFETIME_SECONDS, Token};

const DEFAULT_ENDPOINT: &str = "http://169.254.169.254";
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN_VALUE: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
/// The service is on the same machine: what is not connected in this time is not there.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// At early boot fresh tokens are refused for a while (NixOS/amis #137); after this long it is no start-up any more.
const FRESH_TOKENS_REFUSED_FOR: Duration = Duration::from_secs(30);
/// Bounds what a broken endpoint can make us hold.
const LONGEST_ANSWER: usize = 1 << 20;
/// EC2 takes 16 KiB of user data (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html>); four times
/// that is no user data of EC2 any more.
const LONGEST_USER_DATA: usize = 64 << 10;

/// A client; clones share the token.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    patience: Patience,
}

#[derive(Debug)]
struct Shared {
    endpoint: String,
    http: Result<reqwest::Client, ImdsError>,
    tokens: Keeper,
}

impl Client {
    /// A client for the endpoint of the environment, else `http://169.254.169.254`, with [`Patience::BRIEF`]. Makes no
    /// call; an endpoint that cannot be used is reported by the first request.
    pub fn new(environment: &Environment) -> Client {
        let endpoint = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(DEFAULT_ENDPOINT);
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let http = http_client(&endpoint);
        let shared = Arc::new(Shared { endpoint, http, tokens: Keeper::default() });
        Client { shared, patience: Patience::BRIEF }
    }

    /// The same client, token and all, with another patience.
    #[must_use]
    pub fn with_patience(&self, patience: Patience) -> Client {
        Client { shared: Arc::clone(&self.shared), patience }
    }

    /// Base URL that is asked.
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// Whether the service answers a request without a token, as version 1 did; `None` where that cannot be told. What it
    /// answers is thrown away: nothing is ever learned by version 1.
    pub async fn answers_version_1(&self) -> Option<bool> {
        let http = self.shared.http.as_ref().ok()?;
        let url = format!("{}/latest/meta-data/", self.shared.endpoint);
        match http.get(url).send().await.ok()?.status() {
            StatusCode::OK => Some(true),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(false),
            _ => None,
        }
    }

    /// The text at `path` below `/latest/`, e.g. `meta-data/instance-id`; `None` where it does not exist (404).
    pub async fn get(&self, path: &str) -> Result<Option<String>, ImdsError> {
        let Some(bytes) = self.get_bytes(path).await? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| self.shared.malformed(path, "it is not UTF-8"))
    }

    /// User data as it was given to the instance: any bytes, often compressed; `None` where there is none (404). It may
    /// hold passwords: nobody may log it.
    pub async fn user_data(&self) -> Result<Option<Vec<u8>>, ImdsError> {
        const USER_DATA: &str = "user-data";
        match self.get_bytes(USER_DATA).await? {
            Some(bytes) if bytes.len() > LONGEST_USER_DATA => {
                let reason = format!("it is {} bytes long, more than {LONGEST_USER_DATA}", bytes.len());
                Err(self.shared.malformed(USER_DATA, &reason))
            }
            answer => Ok(answer),
        }
    }

    async fn get_bytes(&self, path: &str) -> Result<Option<Vec<u8>>, ImdsError> {
        retry(self.patience, || self.shared.get(path)).await
    }

    /// Who this instance is, with those of `tags` (and `Name`) that exist. The identity document has the rest; tags
    /// are absent as a whole unless the instance's metadata options allow them.
    pub async fn facts(&self, tags: &BTreeSet<String>) -> Result<Facts, ImdsError> {
        const DOCUMENT: &str = "dynamic/instance-identity/document";
        let text = self
            .get(DOCUMENT)
            .await?
            .ok_or_else(|| self.shared.malformed(DOCUMENT, "there is none (404)"))?;
        let document: IdentityDocument = serde_json::from_str(&text)
            .map_err(|error| self.shared.malformed(DOCUMENT, &error.to_string()))?;
        Ok(Facts {
            instance_id: document.instance_id,
            instance_type: document.instance_type,
            region: document.region,
            availability_zone: document.availability_zone,
            account: document.account_id,
            image_id: document.image_id,
            tags: self.tags(tags).await?,
        })
    }

    async fn tags(&self, wanted: &BTreeSet<String>) -> Result<BTreeMap<String, String>, ImdsError> {
        let mut tags = BTreeMap::new();
        for key in wanted.iter().map(String::as_str).chain(["Name"]) {
            if tags.contains_key(key) || !can_be_a_tag(key) {
                continue;
            }
            if let Some(value) =
                self.get(&format!("meta-data/tags/instance/{}", percent_encoded(key))).await?
            {
                tags.insert(key.to_owned(), value);
            }
        }
        Ok(tags)
    }
}

/// `dynamic/instance-identity/document`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityDocument {
    instance_id: String,
    instance_type: String,
    region: String,
    availability_zone: String,
    account_id: String,
    image_id: String,
}

impl Shared {
    /// One try: a token, the request, and once more with a new token where the old one was refused.
    async fn get(&self, path: &str) -> Attempt<Option<Vec<u8>>> {
        let operation = format!("read {path}");
        let first = self.get_with_token(path, &operation).await;
        if matches!(first, Attempt::Passing(ImdsError::Status { status: 401, .. }, _)) {
            return self.get_with_token(path, &operation).await;
        }
        first
    }

    async fn get_with_token(&self, path: &str, operation: &str) -> Attempt<Option<Vec<u8>>> {
        let token = match self.tokens.token(|| self.ask_for_token()).await {
            Attempt::Answer(token) => token,
            Attempt::Final(error) => return Attempt::Final(error),
            Attempt::Passing(error, limit) => return Attempt::Passing(error, limit),
        };
        let Ok(mut value) = HeaderValue::from_str(token.value.expose_secret()) else {
            return self.refused_token(&token, self.malformed_answer(TOKEN, "it is no header value")).await;
        };
        value.set_sensitive(true);
        match self.send(Method::GET, path, operation, (TOKEN_VALUE, value)).await {
            Ok((StatusCode::OK, body, _)) => Attempt::Answer(Some(body)),
            Ok((StatusCode::NOT_FOUND, ..)) => Attempt::Answer(None),
            Ok((StatusCode::UNAUTHORIZED, ..)) => {
                self.refused_token(&token, self.status(operation, StatusCode::UNAUTHORIZED)).await
            }
            Ok((status, ..)) => self.judge(operation, status),
            Err(attempt) => attempt,
        }
    }

    async fn refused_token<T>(&self, token: &Token, error: ImdsError) -> Attempt<T> {
        self.tokens.forget(token).await;
        Attempt::Passing(error, Some(FRESH_TOKENS_REFUSED_FOR))
    }

    /// `PUT /latest/api/token`. The path is the undated one: a dated version answers 403.
    async fn ask_for_token(&self) -> Attempt<Granted> {
        let header = (TOKEN_TTL, HeaderValue::from(LIFETIME_SECONDS));
        match self.send(Method::PUT, "api/token", TOKEN, header).await {
            Ok((StatusCode::OK, body, lifetime)) => match String::from_utf8(body) {
                Ok(value) if !value.is_empty() => Attempt::Answer((
                    SecretString::from(value),
                    Duration::from_secs(lifetime.unwrap_or(LIFETIME_SECONDS).min(LIFETIME_SECONDS)),
                )),
                _ => Attempt::Passing(self.malformed_answer(TOKEN, "it holds no token"), None),
            },
            Ok((status, ..)) => self.judge(TOKEN, status),
            Err(attempt) => attempt,
        }
    }

    /// Sends a request without a body; gives status, body and the lifetime of the token that the answer names.
    async fn send<T>(
        &self,
        method: Method,
        path: &str,
        operation: &str,
        (name, value): (HeaderName, HeaderValue),
    ) -> Result<(StatusCode, Vec<u8>, Option<u64>), Attempt<T>> {
        let http = self.http.as_ref().map_err(|error| Attempt::Final(error.clone()))?;
        let url = format!("{}/latest/{path}", self.endpoint);
        let unreachable = |error: reqwest::Error| {
            Attempt::Passing(
                ImdsError::Unreachable {
                    endpoint: self.endpoint.clone(),
                    operation: operation.to_owned(),
                    timed_out: error.is_timeout() && !error.is_connect(),
                    source: Arc::new(error.without_url()),
                },
                None,
            )
        };
        let mut response = http.request(method, url).header(name, value).send().await.map_err(unreachable)?;
        let lifetime = response.headers().get(TOKEN_TTL).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(Attempt::Final(self.malformed_answer(operation, "it is longer than 1 MiB")));
            }
        }
        Ok((response.status(), body, lifetime))
    }

    /// What a status that is no answer means.
    fn judge<T>(&self, operation: &str, status: StatusCode) -> Attempt<T> {
        match status.as_u16() {
            403 => Attempt::Final(ImdsError::Denied {
                endpoint: self.endpoint.clone(),
                operation: operation.to_owned(),
            }),
            429 | 500..=599 => Attempt::Passing(self.status(operation, status), None),
            _ => Attempt::Final(self.status(operation, status)),
        }
    }

    fn status(&self, operation: &str, status: StatusCode) -> ImdsError {
        ImdsError::Status {
            endpoint: self.endpoint.clone(),
            operation: operation.to_owned(),
            status: status.as_u16(),
        }
    }

    fn malformed(&self, path: &str, reason: &str) -> ImdsError {
        self.malformed_answer(&format!("read {path}"), reason)
    }

    fn malformed_answer(&self, operation: &str, reason: &str) -> ImdsError {
        ImdsError::Malformed {
            endpoint: self.endpoint.clone(),
            operation: operation.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// The HTTP client, for plain HTTP only: it trusts no certificate at all, which also spares every start the reading of
/// the system's bundle.
fn http_client(endpoint: &str) -> Result<reqwest::Client, ImdsError> {
    let invalid = || ImdsError::InvalidEndpoint { endpoint: endpoint.to_owned() };
    let url = reqwest::Url::parse(endpoint).map_err(|_| invalid())?;
    if url.scheme() != "http" || !url.has_host() {
        return Err(invalid());
    }
    crate::cloud::install_crypto_provider();
    let no_tls = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(no_tls)
        // The service refuses what came through a proxy, and a proxy elsewhere would answer for another machine.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_DEADLINE)
        .timeout(REQUEST_DEADLINE)
        .user_agent(concat!("node-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| invalid())
}

/// Tags that cannot be read through the service are absent: it would resolve the dots, and `_index` is its own.
fn can_be_a_tag(key: &str) -> bool {
    !key.is_empty() && !matches!(key, "." | ".." | "_index")
}

/// `key` as one path segment. What the service allows in tag names stays as it is.
fn percent_encoded(key: &str) -> String {
    key.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            b'+' | b'-' | b'=' | b'.' | b',' | b'_' | b':' | b'@' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}
